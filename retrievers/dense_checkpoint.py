"""The fine-tuned encoder kept until the catalogue is indexed: a kill costs no training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from fusion.artifacts import read_json, write_json
from fusion.atomic import replace_folder
from retrievers.encoder import Encoder, Precision

__all__ = ["trained_once"]


@contextmanager
def trained_once(
    encoder: Encoder,
    learn: Callable[[Path | None], int],
    *,
    identity: Any,
    precision: Precision,
    folder: Path | None,
) -> Iterator[tuple[Encoder, int]]:
    """The encoder after ``learn``, and what that returned; or what an earlier, killed run left.

    Args:
        encoder: where ``learn`` starts from, and what it trains in place.
        learn: trains; takes a folder for checkpoints, gone once training has ended, or ``None``;
            returns how many examples helped.
        identity: JSON of what else decides what is learnt: settings, data, seed.
        precision: to load with.
        folder: kept here as long as the ``with`` lasts, and after it if it fails; ``None`` = not.
    """
    if folder is None:
        yield encoder, learn(None)
        return
    told = json.dumps([identity, encoder.digest], sort_keys=True)
    kept = folder.absolute() / f"encoder-{sha256(told.encode()).hexdigest()[:16]}"
    if kept.is_dir():
        encoder, pairs = Encoder.load(kept, precision), int(read_json(kept / "pairs.json"))
    else:
        going = kept.with_name(f"{kept.name}-training")
        pairs = learn(going)

        def fill(aside: Path) -> None:
            encoder.save(aside)
            write_json(aside / "pairs.json", pairs)

        replace_folder(kept, fill)
        shutil.rmtree(going, ignore_errors=True)
    yield encoder, pairs
    shutil.rmtree(kept, ignore_errors=True)
