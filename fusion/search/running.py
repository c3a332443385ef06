"""`search`: draw, fit, judge, until the trials or the time are over."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fusion._version import __version__
from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.errors import ConfigError, explain
from fusion.evaluation.fingerprint import hash_queries
from fusion.evaluation.metrics import METRICS
from fusion.progress import stage
from fusion.search.keeping import tidy
from fusion.search.objective import Objective, validation_windows
from fusion.search.outcome import Found, Trial, write_found
from fusion.search.space import SearchSpace
from fusion.search.studying import Pruner, finished, importance, load_optuna, open_study, sampler

__all__ = ["search"]


def search(
    config: EngineConfig | Mapping[str, Any],
    data: Dataset,
    space: SearchSpace | Mapping[str, Any] | str | Path,
    *,
    metric: str = "NDCG@10",
    trials: int = 50,
    timeout: float | None = None,
    windows: int = 1,
    max_queries: int | None = None,
    pruner: Pruner = "median",
    out: str | Path | None = None,
    cache_gib: float = 10.0,
    progress: bool = False,
) -> Found:
    """The best configuration of ``space`` on validation events.

    The test events that ``config.evaluation`` describes are cut off first and not looked at; what
    is left is split in the same way once more, see `validation_windows`. ``config`` itself is tried
    first.

    Args:
        config: where the search starts; what ``space`` does not name stays as it is.
        data: everything, test events included.
        space: what to search; a file, a mapping, or one that was read already.
        metric: a metric of `fusion.evaluation.metrics` with its cutoff, higher is better.
        trials: try so many in all, those of an earlier run in ``out`` included.
        timeout: begin no trial after so many seconds; ``None`` = no limit.
        windows: judge on so many validation windows, one before the other; each is a fit more.
        max_queries: of each window, drawn at random; ``None`` = all.
        pruner: who gives up trials that do badly on their first queries, see `open_study`.
        out: keep journal, fitted models, ``best.yaml`` and ``trials.json`` in this folder, and go
            on from what is there; one process at a time. ``None`` = keep nothing.
        cache_gib: gibibytes of fitted models to keep between trials, at most.
        progress: say which trial is under way, on standard error.

    Raises:
        ConfigError: the space or the metric fits not, or ``out`` holds another search.
        DataError: too few events for the windows.
        DependencyError: Optuna is not installed.
    """
    if not isinstance(config, EngineConfig):
        config = EngineConfig.from_mapping(config)
    if not isinstance(space, SearchSpace):
        space = SearchSpace.read(space, config)
    _check_metric(metric)
    load_optuna()
    splits = validation_windows(config, data, windows, max_queries)
    folder = None if out is None else Path(out)
    with ExitStack() as stack:
        if folder is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            work = folder / "work"
        early = bool(config.rankers) and space.touches("retrievers")
        objective = Objective(splits, metric, work, early)
        protocol = {
            "space": space.to_json(),
            "config": config.hash,
            "data": data.fingerprint,
            "queries": [hash_queries(split.queries, split.targets) for split in splits],
            "metric": metric,
            "pruner": pruner,
            "version": __version__,
        }
        study = stack.enter_context(open_study(folder, pruner, objective.steps, protocol))
        run = _Run(space, objective, study, cache_gib * 2**30, progress)
        run.begin()
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while len(finished(study)) < trials and time.monotonic() < end:
            run.trial(trials)
        found = run.found(protocol)
    if folder is not None:
        write_found(found, folder)
    return found


class _Run:
    """One process's part in a study."""

    def __init__(
        self, space: SearchSpace, objective: Objective, study: Any, limit: float, progress: bool
    ) -> None:
        self.space, self.objective, self.study = space, objective, study
        self.limit, self.progress = limit, progress
        self.start = space.start
        named = [d.parts for d in space.dimensions]
        models = (*space.base.retrievers, *space.base.rankers)
        all_vary = any(parts[0] in ("seed", "stacking") for parts in named)
        self.varying = {m for m in models if all_vary or any(p[1:2] == (m,) for p in named)}

    def begin(self) -> None:
        """See that the start is tried: as the first trial, or, outside of the space, by itself."""
        if self.start is None:
            if "start" not in self.study.user_attrs:
                with stage("the start, which is outside of the space", show=self.progress):
                    value = self.objective.value(self.space.base)
                self.study.set_user_attr("start", value)
        elif not self._tried_start():
            waiting = load_optuna().trial.TrialState.WAITING
            if not self.study.get_trials(deepcopy=False, states=(waiting,)):
                self.study.enqueue_trial(self.start)

    def _tried_start(self) -> Any:
        """The complete trial of the start, or ``None``."""
        done = (t for t in finished(self.study) if t.state.name == "COMPLETE")
        return next((trial for trial in done if trial.params == self.start), None)

    def trial(self, of: int) -> None:
        """Draw one, judge it, write it down."""
        optuna = load_optuna()
        done = len(finished(self.study))
        self.study.sampler = sampler(self.space.base.seed, done)
        trial = self.study.ask()
        values = {d.path: d.ask(trial) for d in self.space.dimensions}
        is_start = trial.params == self.start

        def report(step: int, value: float) -> None:
            trial.report(value, step)
            if not is_start and trial.should_prune():
                raise optuna.TrialPruned

        began = time.monotonic()
        value = None
        with stage(self._line(done, of, values), show=self.progress):
            try:
                value = self.objective.value(self.space.config(values), report)
            except optuna.TrialPruned:
                pass
            except ConfigError as error:
                if is_start:
                    raise
                trial.set_user_attr("refused", str(error))
        trial.set_user_attr("seconds", time.monotonic() - began)
        if value is None:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, value)
        tidy(self.objective.folder, self.varying, self.limit)

    def _line(self, done: int, of: int, values: Mapping[str, Any]) -> str:
        best = [t.value for t in finished(self.study) if t.state.name == "COMPLETE"]
        so_far = f" (best {self.objective.metric} {max(best):.4f})" if best else ""
        shown = ", ".join(f"{path}={_short(value)}" for path, value in values.items())
        return f"trial {done + 1} of {of}{so_far}: {shown}"

    def found(self, protocol: Mapping[str, Any]) -> Found:
        """The best of all, those of earlier runs included."""
        rows = tuple(self._row(trial) for trial in finished(self.study))
        complete = [row for row in rows if row.state == "complete"]
        tried = self._tried_start()
        start = self.study.user_attrs.get("start") if tried is None else tried.value
        if start is None:
            raise ConfigError(
                explain("search", "time for one trial", "none", "raise trials or timeout")
            )
        first = -1 if tried is None else tried.number
        best = max(
            complete, key=lambda row: (row.value, row.number == first, -row.number), default=None
        )
        if best is None or start >= (best.value or 0.0):  # only something better is worth a change
            values = {} if tried is None else dict(self._row(tried).values)
            config, value = self.space.base, float(start)
        else:
            values, value = dict(best.values), float(best.value or 0.0)
            config = self.space.config(values)
        shares = importance(self.study)
        metric = self.objective.metric
        return Found(config, metric, value, float(start), values, rows, shares, protocol)

    def _row(self, trial: Any) -> Trial:
        reason = trial.user_attrs.get("refused", "")
        state: Any = "refused" if reason else trial.state.name.lower()
        choices = {d.path for d in self.space.dimensions if d.kind == "choice"}
        values = {p: json.loads(v) if p in choices else v for p, v in trial.params.items()}
        seconds = float(trial.user_attrs.get("seconds", 0.0))
        return Trial(trial.number, state, trial.value, values, seconds, reason)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def _check_metric(metric: str) -> None:
    name, _, cutoff = metric.partition("@")
    if name not in METRICS or not re.fullmatch("[1-9][0-9]*", cutoff):
        expected = f"a metric like NDCG@10 out of {', '.join(METRICS)}"
        raise ConfigError(explain("search", expected, repr(metric)))
