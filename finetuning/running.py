"""One run of a Trainer: where its checkpoints are, going on from one, and the best weights."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from finetuning.stopping import Watch, last_checkpoint

__all__ = ["Curve", "checkpoints", "curves", "run"]

log = logging.getLogger(__name__)

#: (step, value) of each look at a validation set, the first before training
Curve = tuple[tuple[int, float], ...]

_collected: ContextVar[list[Curve] | None] = ContextVar("finetuning_curves", default=None)


@contextmanager
def curves() -> Iterator[list[Curve]]:
    """Collect the curve of every `run` inside the ``with``, in the order in which they end."""
    found: list[Curve] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


@contextmanager
def checkpoints(workdir: Path | None, name: str) -> Iterator[Path]:
    """A folder for the checkpoints of the run ``name``, gone when the run has ended.

    Args:
        workdir: what is left in it is of a run that did not end; ``None`` = a temporary folder.
        name: says everything that the run depends on, else a run goes on from another's.
    """
    if workdir is None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            yield Path(scratch)
            _keep_curves(Path(scratch), name)
        return
    folder = workdir / name
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    _keep_curves(folder, name)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and notes at every checkpoint; the watch has a bar of its own."""
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()


def _keep_curves(folder: Path, name: str) -> None:
    """TensorBoard's files, which transformers puts beside the checkpoints, go to ``./runs``."""
    for curve in sorted(folder.glob("runs/*")):
        kept = Path("runs") / name
        kept.mkdir(parents=True, exist_ok=True)
        shutil.move(curve, kept / curve.name)


def run(trainer: Any, watch: Watch) -> dict[str, float]:
    """Train to the end, from the last complete checkpoint on; the model has its best weights then.

    Args:
        trainer: a Trainer of transformers or sentence-transformers, without ``watch``.
        watch: what looks at it.

    A run that goes on ends as one that was never cut, if its batches depend on nothing but their
    place: the Trainer puts the global generators back, but it had made the next batch before. So a
    collator must not draw from them; see `finetuning.pretraining` for one that does not.

    Returns:
        What `Watch.report` says.
    """
    from transformers import PrinterCallback, ProgressCallback

    for noise in (PrinterCallback, ProgressCallback):  # they write to standard output
        trainer.remove_callback(noise)
    trainer.add_callback(watch)
    watch.tell = trainer.log
    checkpoint = last_checkpoint(Path(trainer.args.output_dir))
    if checkpoint is not None:
        log.info("going on from %s", checkpoint)
        watch.read(checkpoint)
    with _quiet():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    watch.restore(trainer.model)
    collected = _collected.get()
    if collected is not None:
        collected.append(watch.curve)
    return watch.report()
