"""The Optuna study behind a search: where it is kept, who draws, who gives trials up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusion.errors import ConfigError, DependencyError, explain

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["JOURNAL", "Pruner", "finished", "importance", "load_optuna", "open_study", "sampler"]

Pruner = Literal["median", "hyperband", "none"]
#: the file in the folder of a search that Optuna writes every step to
JOURNAL = "journal.log"


def load_optuna() -> ModuleType:
    """The package.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        do = "pip install optuna"
        raise DependencyError(explain("search", "optuna", "no such package", do)) from error
    module: ModuleType = optuna
    return module


@contextmanager
def open_study(
    out: Path | None, pruner: Pruner, steps: int, protocol: Mapping[str, Any]
) -> Iterator[Any]:
    """A study that maximises, new or found in ``out``; Optuna says nothing meanwhile.

    Args:
        out: the folder of the journal; ``None`` = in memory.
        pruner: ``median`` gives a trial up that is below the median of the finished ones at the
            same step, once there are five (Golovin et al., KDD 2017); ``hyperband`` is that of Li
            et al. (JMLR 2018), its resource being the step.
        steps: how often a whole trial reports.
        protocol: what all trials of one study share, as JSON values.

    Yields:
        The study. A trial that was under way when its process ended has failed.

    Raises:
        ConfigError: the folder holds a search under another protocol.
    """
    optuna = load_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = None
        if out is not None:
            from optuna.storages.journal import JournalFileBackend, JournalStorage

            out.mkdir(parents=True, exist_ok=True)
            storage = JournalStorage(JournalFileBackend(str(out / JOURNAL)))
        study = optuna.create_study(
            study_name="recfusion",
            storage=storage,
            direction="maximize",
            pruner=_pruner(optuna, pruner, steps),
            load_if_exists=True,
        )
        _same_protocol(study, dict(protocol), out)
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        yield study
    finally:
        optuna.logging.set_verbosity(before)


def _pruner(optuna: Any, name: Pruner, steps: int) -> Any:
    if name == "median":
        return optuna.pruners.MedianPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(steps, 1))
    return optuna.pruners.NopPruner()


def _same_protocol(study: Any, protocol: dict[str, Any], out: Path | None) -> None:
    known = study.user_attrs.get("protocol")
    if known is None:
        study.set_user_attr("protocol", protocol)
        return
    new = json.loads(json.dumps(protocol))
    other = sorted(key for key in {*known, *new} if known.get(key) != new.get(key))
    if other:
        raise ConfigError(
            explain(
                f"search in {out}",
                "the search that was begun there",
                f"another {', '.join(other)}",
                "choose another folder, or go back to what it was begun with",
            )
        )


def sampler(seed: int, done: int) -> Any:
    """The tree-structured Parzen estimator for the trial after ``done`` finished ones.

    Bergstra, Bardenet, Bengio and Kegl, "Algorithms for hyper-parameter optimization", NeurIPS
    2011. Each trial has a generator of its own, so that a search that was interrupted draws what
    it would have drawn.
    """
    state = np.random.SeedSequence([seed, done]).generate_state(1)[0]
    return load_optuna().samplers.TPESampler(seed=int(state) % 2**31)


def finished(study: Any) -> list[Any]:
    """The frozen trials that count: complete, given up, or refused."""
    states = load_optuna().trial.TrialState
    found: list[Any] = study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))
    return found


def importance(study: Any) -> dict[str, float]:
    """Each dimension's share in what tells good complete trials from the others; empty if few.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023, arXiv:2304.10255).
    """
    optuna = load_optuna()
    values = [trial.value for trial in finished(study) if trial.state.name == "COMPLETE"]
    if len(values) < 10 or min(values) == max(values):
        return {}
    found: Mapping[str, float] = optuna.importance.get_param_importances(study)
    return {path: float(share) for path, share in found.items()}
