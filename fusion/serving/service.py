"""`Service`: answers requests with what is fitted and in force."""

from __future__ import annotations

import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.errors import NotFittedError
from fusion.errors import explain as message
from fusion.pool import LivePool
from fusion.progress import stage
from fusion.protocols import FitContext, Labelled, Model, Strategy
from fusion.queries import Queries
from fusion.recommendation import Recommendations
from fusion.serving.after import build_after, depth_of, outcome_of
from fusion.serving.answering import Models, answer
from fusion.serving.costs import Costs
from fusion.serving.presenting import items_of, request_profile, runs_of_all
from fusion.serving.requests import Recent, Request, checked_deadline
from fusion.serving.state import State
from fusion.topk import top_of
from fusion.training import learn

__all__ = ["Service"]


class Service(ABC):
    """What every engine is while it serves; `fusion.engine.Engine` adds fitting and files.

    It may be shared between threads: one model is asked by one thread at a time, and a request
    reads what is in force once.

    Args:
        config: a validated configuration.
    """

    def __init__(self, config: EngineConfig) -> None:
        retrievers, rankers, strategy = config.build()
        self._models: dict[str, Model] = {**retrievers, **rankers}
        strategy.uses(tuple(self._models))
        if config.serving.shadow is not None:  # a fault is told now, not after hours of fitting
            config.build_strategy(config.serving.shadow.fusion)
        #: everything that a swap changes; one assignment changes all of it
        self._state = State(config, strategy, build_after(config))
        self._changing = threading.RLock()
        self._fitted: Models | None = None
        self._windows: tuple[Labelled, ...] = ()
        self._recent = Recent(config.serving.remember)
        self._numbers = itertools.count()

    @property
    def config(self) -> EngineConfig:
        """The configuration in force."""
        return self._state.config

    @property
    def data(self) -> Dataset:
        """What the engine was fitted on.

        Raises:
            NotFittedError: before `fit`.
        """
        return self._ready.data

    @property
    def _ready(self) -> Models:
        if self._fitted is None:
            raise NotFittedError(message("Engine", "a fitted engine", "none", "call fit or load"))
        return self._fitted

    @property
    def models(self) -> Mapping[str, Model]:
        """Every model by name, retrievers first."""
        return self._models

    @property
    def strategy(self) -> Strategy:
        """The fusion in force."""
        return self._state.strategy

    @property
    def windows(self) -> tuple[Labelled, ...]:
        """The out-of-window scores that strategies learn from, the oldest window first."""
        return self._windows

    def warm_up(self, *, progress: bool = False) -> None:
        """Do now what the first requests would wait for: compile, convert, read the catalogue.

        Scores stay the same. Call it before `Engine.save` to keep what a language model says of
        each item alone, which takes it a pass over every item's text.

        Raises:
            NotFittedError: before `fit`.
        """
        for name, model in self._ready.by_name.items():
            with stage(f"warm up {name}", show=progress), self._ready.workers.of(name).lock:
                model.warm_up(progress=progress)

    @property
    def costs(self) -> Costs:
        """What the models were measured to cost; see `calibrate_deadline`."""
        return self._ready.costs

    def recommend(
        self,
        user_id: str | None = None,
        k: int = 10,
        *,
        history: Sequence[str] | None = None,
        exclude_seen: bool | None = None,
        deadline_ms: float | None = None,
        explain: bool = False,
    ) -> Recommendations:
        """The ``k`` best items for a known user, or for a raw history.

        Args:
            user_id: a user of the fitted data; an unknown one is answered by the configured
                fallback.
            k: how many; fewer come back where fewer are left that any model can suggest.
            history: item ids, oldest first, instead of ``user_id``.
            exclude_seen: leave out the items of the history (default: as configured).
            deadline_ms: milliseconds that the answer may take; models that there is no time for
                are left out, one retriever is always waited for. `calibrate_deadline` measures
                what it needs; the first such request does so where nobody did before.
            explain: also say where the time went: ``.profile`` of the answer.

        Returns:
            A list of `Recommendation` that also says how each model did.

        Raises:
            UnknownUserError: the user is unknown and no fallback is configured.
            UnknownItemError: ``history`` names an item that the catalogue does not hold.
            DataError: neither or both of user and history, ``k`` below 1, no positive deadline.
            ModelError: a model failed and ``serving.on_model_error`` is ``raise``, or none of the
                retrievers answered.
        """
        models, state = self._ready, self._state
        exclude = state.config.exclude_seen if exclude_seen is None else exclude_seen
        request = Request.of(user_id, history, k, exclude)
        if checked_deadline(deadline_ms) is not None:
            state = self._calibrated(state)
        marks = [time.perf_counter()]
        end = None if deadline_ms is None else marks[0] + deadline_ms / 1000
        queries = request.queries(state.config, models.data)
        marks.append(time.perf_counter())
        depth = depth_of(state.after, request.k)
        given = answer(models, state, queries, depth, single=True, end=end)
        marks.append(time.perf_counter())
        rng = np.random.default_rng(self._chance(state))
        shown = outcome_of(state.after, given.fused, queries, models.data.catalog, request.k, rng)
        marks.append(time.perf_counter())
        ids = models.data.catalog.ids
        items = items_of(shown.top, models.data, shown.notes, shown.propensities)
        runs = runs_of_all(tuple(self._models), given.runs)
        marks.append(time.perf_counter())
        out = Recommendations(
            items,
            models=runs,
            removed={rule: [ids[i] for i in items] for rule, items in shown.removed.items()},
            strategy=given.label,
            strategy_hash=state.hash,
            ms=1000 * (marks[-1] - marks[0]),
            deadline_ms=deadline_ms,
            profile=request_profile(marks, given.runs) if explain else None,
        )
        self._recent.add(request)
        if state.shadow is not None and given.pool is not None and state.shadow.chooses(request):
            live = [ids[i] for i in top_of(given.fused, request.k, explain=False).items]
            state.shadow.watch(request, given.pool, live, models.data)
        return out

    def _chance(self, state: State) -> list[int]:
        """Seed for exploration: another one for each call, the same sequence for the same seed."""
        return [state.config.seed, next(self._numbers)]

    @abstractmethod
    def _calibrated(self, state: State) -> State:
        """``state``, or the one in force, with what a deadline needs."""

    def learnt(self, fusion: Mapping[str, Any], *, progress: bool = False) -> Strategy:
        """A strategy over the fitted models, ready to fuse; the one in force stays.

        Args:
            fusion: what stands under ``fusion:`` in a YAML.
        """
        strategy = self.config.build_strategy(fusion)
        strategy.uses(tuple(self._models))
        learn(strategy, self._windows, self._context(progress))
        return strategy

    def _context(self, progress: bool) -> FitContext:
        catalog = None if self._fitted is None else self.data.catalog
        return FitContext(self.config.seed, None, progress, catalog)

    @contextmanager
    def using(self, strategy: Strategy) -> Iterator[None]:
        """Inside the ``with``, a strategy that is ready to fuse, such as one from `learnt`."""
        strategy.uses(tuple(self._models))
        before = self._state
        self._state = replace(before, strategy=strategy, calibration=None)
        try:
            yield
        finally:
            self._state = before

    def pool(self, queries: Queries, *, depth: int = 0, progress: bool = False) -> LivePool:
        """The candidates of ``queries`` (their items indexed by the engine's data)."""
        models = self._ready
        return LivePool(queries, models.by_name, models.popularity, depth=depth, progress=progress)
