"""From queries to a list: pool, fusion, the steps after it; with or without a deadline."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.errors import ModelError, UnknownUserError, explain
from fusion.pool import LivePool
from fusion.protocols import Fused, Model, Retriever
from fusion.queries import Queries
from fusion.recommendation import ModelRun
from fusion.serving.asking import Asker, Gate, OnError
from fusion.serving.bounds import largest_parts, settled
from fusion.serving.costs import Costs
from fusion.serving.deadline import Calibration, DeadlineGate, plan
from fusion.serving.state import State
from fusion.serving.subset import is_cascade, restricted_pool
from fusion.serving.workers import Workers
from fusion.strategies.parallel import Parallel

__all__ = ["Answer", "Models", "answer"]


@dataclass(frozen=True)
class Models:
    """The fitted models and what is needed to ask them.

    Attributes:
        by_name: retrievers first.
        data: what they were fitted on.
        popularity: (I,) float64, share of the events.
        workers: their threads and locks.
        costs: what they were measured to cost.
    """

    by_name: Mapping[str, Model]
    data: Dataset
    popularity: npt.NDArray[np.float64]
    workers: Workers = field(default_factory=Workers)
    costs: Costs = field(default_factory=Costs)

    @property
    def retrievers(self) -> tuple[str, ...]:
        """The names of those that look at the whole catalogue."""
        return tuple(n for n, m in self.by_name.items() if isinstance(m, Retriever))

    def pool(
        self,
        queries: Queries,
        depth: int,
        asker: Asker,
        *,
        only: Sequence[str] | None = None,
        order: Sequence[str] = (),
    ) -> LivePool:
        """The candidates of ``queries`` by the models ``only`` (``None`` = all)."""
        chosen = {n: m for n, m in self.by_name.items() if only is None or n in only}
        return LivePool(queries, chosen, self.popularity, depth=depth, asker=asker, order=order)

    def asker(
        self, on_error: OnError, *, measured: bool = False, gate: Gate | None = None
    ) -> Asker:
        """One for a batch; ``measured`` requests are single ones, whose times are kept."""
        costs = self.costs if measured else None
        return Asker(on_error, workers=self.workers, costs=costs, gate=gate)


@dataclass(frozen=True)
class Answer:
    """The lists of a batch and how they came about.

    Attributes:
        fused: every candidate with its score.
        pool: what the models said; ``None`` for queries without history.
        runs: model -> how it did.
        label: mode of the fusion, or ``fallback``.
    """

    fused: Fused
    pool: LivePool | None
    runs: Mapping[str, ModelRun]
    label: str


def answer(
    models: Models,
    state: State,
    queries: Queries,
    depth: int,
    *,
    single: bool = False,
    end: float | None = None,
) -> Answer:
    """Fuse the candidates of ``queries``, which all have a history or all have none.

    Args:
        depth: ask every retriever for at least so many.
        single: one request, whose models' times are written down.
        end: when the answer is due, as of `time.perf_counter`; needs ``state.calibration``.

    Raises:
        ModelError: a model failed and is not to be skipped, or no retriever is left.
        UnknownUserError: no history, and no fallback.
    """
    on_error = state.config.serving.on_model_error
    if (queries.history.lengths == 0).any():
        asker = models.asker(on_error)
        fused = _fall_back(models, state.config, queries, depth, asker)
        return Answer(fused, None, asker.runs, "fallback")
    start = time.perf_counter()
    if end is None or state.calibration is None:
        asker = models.asker(on_error, measured=single)
        pool = models.pool(queries, depth, asker)
        fused = _rescued(state.strategy.fuse(pool), pool)
    else:
        fused, pool = _in_time(models, state, state.calibration, queries, depth, end)
        asker = pool.asker
    if single and not any(run.status == "late" for run in asker.runs.values()):
        spent = 1000 * (time.perf_counter() - start) - sum(r.ms for r in asker.runs.values())
        models.costs.add("", "fuse", len(fused.scores), max(spent, 0.0))
    return Answer(fused, pool, asker.runs, str(state.config.fusion["mode"]))


def _in_time(
    models: Models,
    state: State,
    calibration: Calibration,
    queries: Queries,
    depth: int,
    end: float,
) -> tuple[Fused, LivePool]:
    """The fusion of the models that there is time for."""
    gate = DeadlineGate(end, models.costs, models.retrievers)
    asker = models.asker(state.config.serving.on_model_error, measured=True, gate=gate)
    gate.asker = asker
    n = plan(calibration, models.costs, 1000 * (end - time.perf_counter()))
    prefix = calibration.prefixes[n - 1]
    for step in calibration.chain[n:]:
        models.costs.relax(step.model)
        needed = models.costs.of_model(step.model)
        asker.skip(step.model, f"deadline: it was expected to need {needed:.0f} ms")
    pool = models.pool(queries, depth, asker, only=prefix.models, order=calibration.order)
    union = pool.candidates()
    if not is_cascade(prefix.fusion):  # which asks in an order of its own
        parts = None
        if n == len(calibration.chain) and not state.after:  # the steps after see the whole order
            parts = largest_parts(prefix.fusion, prefix.models)
        order = [step.model for step in calibration.chain[:n]]
        asked = [name for name in order if name in prefix.strategy.uses(pool.models)]
        for at, name in enumerate(asked):
            ms = sum(models.costs.predict(other, "score") for other in asked[at:])
            # looking costs one more fusion: only where it may save more than that
            if parts is not None and at > 0 and ms > models.costs.predict("", "fuse"):
                swing = sum(parts[other] for other in asked[at:])
                if settled(prefix.strategy.fuse(pool.so_far()), depth, swing):
                    for other in asked[at:]:
                        if not asker.gone(other) and models.costs.known(other, "score"):
                            asker.skip(other, "it cannot change the list")
                    break
            if models.costs.known(name, "score"):
                pool.complete(union, (name,))
    fused = prefix.strategy.fuse(pool)
    missing = {m for m in prefix.models if _left_out(asker, m)}
    if missing:
        fused = _of_shorter(calibration, n, missing, pool, fused)
    return _rescued(fused, pool), pool


def _left_out(asker: Asker, model: str) -> bool:
    """Whether it has no answer although it might have changed the list."""
    return asker.gone(model) and asker.runs[model].reason != "it cannot change the list"


def _of_shorter(
    calibration: Calibration, n: int, missing: set[str], pool: LivePool, fused: Fused
) -> Fused:
    """The fusion of the longest prefix whose models all answered; ``fused`` where there is none."""
    for prefix in reversed(calibration.prefixes[: n - 1]):
        if not missing & set(prefix.models):
            return prefix.strategy.fuse(restricted_pool(pool.so_far(), prefix.models))
    return fused


def _rescued(fused: Fused, pool: LivePool) -> Fused:
    """``fused``; reciprocal ranks of who answered, if a model's absence took whole lists away."""
    answered = [name for name in pool.models if not pool.asker.gone(name)]
    if len(answered) == len(pool.models):
        return fused
    emptied = (fused.candidates.lengths == 0) & (pool.candidates().lengths > 0)
    if not emptied.any():
        return fused
    said = restricted_pool(pool.so_far(), answered)
    return Parallel({"models": answered}, name="rescue").fuse(said)


def _fall_back(
    models: Models, config: EngineConfig, queries: Queries, depth: int, asker: Asker
) -> Fused:
    """Without history there is nothing to fuse: the fallback's own list, or an error."""
    name = config.fallback
    if name is None:
        raise UnknownUserError(
            explain(
                "recommend",
                "a user with at least one event",
                "one without history",
                "name a `fallback:` in the config to answer anyway",
            )
        )
    model: Any = models.by_name[name]
    found = asker.retrieve(name, model, queries, depth, len(models.popularity))
    if found is None:
        raise ModelError(
            explain("recommend", "the fallback's answer", asker.runs[name].reason), model=name
        )
    scores = found.scores[:, 0].astype(np.float64)
    return Fused.of(found, scores, (name,), scores[:, None])
