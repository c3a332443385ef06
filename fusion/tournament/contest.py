"""One entrant over all folds: learn on the past, fuse what came next, note the target's rank."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Catalog
from fusion.errors import DataError, explain
from fusion.protocols import FitContext, Labelled, Pool, Strategy, Windows
from fusion.strategies.leaks import refuse_leaks
from fusion.strategies.learned import Learned
from fusion.tournament.blocks import Folds, cut_folds
from fusion.tournament.entrants import Entrant
from fusion.tournament.judging import target_ranks

__all__ = ["Build", "Contest", "Played"]

log = logging.getLogger(__name__)

#: makes a new strategy from what stands under ``fusion:``
Build = Callable[[Mapping[str, Any]], Strategy]


@dataclass(frozen=True)
class Played:
    """What an entrant reached.

    Attributes:
        entrant: who.
        ranks: (J,) int64, the target's rank in each judged query, 0 = not among the candidates;
            empty after an error.
        learns: whether it was fitted in each fold.
        fusing_ms: median milliseconds of fusing one query from cached columns; ``None`` = not
            timed.
        seconds: all that it took.
        asks: the models it asks.
        fell_back: in so many folds a stacker had too little to learn from, and reciprocal rank
            fusion stood in for it.
        error: what went wrong, in words; ``""`` where nothing did.
    """

    entrant: Entrant
    ranks: npt.NDArray[np.int64]
    learns: bool = False
    fusing_ms: float | None = None
    seconds: float = 0.0
    asks: tuple[str, ...] = ()
    fell_back: int = 0
    error: str = ""


class Contest:
    """The windows, cut into folds once for all entrants.

    Args:
        windows: out-of-window scores, the oldest first; the newest is cut, the older ones are
            learnt from in every fold.
        build: makes strategies.
        folds: how many.
        seed: of all that learns.
        timed: queries timed one by one; 0 = none.
        catalog: the items, for fusions that learn by their fields.

    Raises:
        LeakageError: a column comes from a model that may have seen the labels.
        DataError: no window, or too few queries.
    """

    def __init__(
        self,
        windows: Windows,
        build: Build,
        *,
        folds: int,
        seed: int = 0,
        timed: int = 0,
        catalog: Catalog | None = None,
    ) -> None:
        if not windows:
            do = "add a stacking section to the config, or more data"
            raise DataError(explain("tournament", "a stacking window", "none", do))
        for window in windows:
            refuse_leaks("tournament", window.pool.models, window)
        self._older: Sequence[Labelled] = tuple(windows[:-1])
        self._newest = windows[-1]
        self._build, self._timed = build, timed
        self.context = FitContext(seed, catalog=catalog)
        self.folds: Folds = cut_folds(self._newest.pool.queries, folds)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model's name."""
        return self._newest.pool.models

    @cached_property
    def judged(self) -> Labelled:
        """The judged queries of all folds, the oldest first."""
        return self._newest.take(self.folds.all_judged)

    @cached_property
    def users(self) -> npt.NDArray[np.int64]:
        """(J,) int64: the cluster of each judged query; who has no user is one of his own."""
        users = self.judged.pool.queries.users.astype(np.int64)
        return np.where(users >= 0, users, -1 - np.arange(len(users)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that an entrant's ranks depend on, besides the entrant."""
        digest = sha256(f"{len(self.folds)} {self.context.seed}".encode())
        for window in (*self._older, self._newest):
            pool, queries = window.pool, window.pool.queries
            union = pool.candidates()
            full = pool.complete(union, pool.models)
            digest.update("\x1f".join((window.past.fingerprint, *pool.models)).encode())
            for part in (
                *(queries.history.offsets, queries.history.values, queries.times),
                *(queries.users, queries.now, window.targets, pool.popularity),
                *(union.offsets, union.items, union.scores, full.scores, full.why),
            ):
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    @cached_property
    def _lessons(self) -> list[tuple[list[Labelled], Labelled]]:
        """For each fold what is learnt from, and what is judged."""
        return [
            (
                [*self._older, self._newest.take(self.folds.past(fold))],
                self._newest.take(self.folds.judged(fold)),
            )
            for fold in range(len(self.folds))
        ]

    @property
    def last_lesson(self) -> tuple[list[Labelled], Labelled]:
        """What is learnt from for the last fold, and that fold."""
        return self._lessons[-1]

    @cached_property
    def _one_by_one(self) -> list[Pool]:
        """Pools of one query each, to time."""
        pool = self.judged.pool
        at = np.linspace(0, len(pool.queries) - 1, min(self._timed, len(pool.queries)))
        return [pool.take(np.array([q], np.int64)) for q in np.unique(at.astype(np.int64))]

    def play(self, entrant: Entrant) -> Played:
        """Learn and judge, fold by fold; what learns nothing is judged at once.

        Whatever ``entrant`` raises is its result: one of many must not end the others' contest.
        """
        start, fell_back = time.perf_counter(), 0
        try:
            strategy = self._build(entrant.fusion)
            asks = strategy.uses(self.models)
            if strategy.learns:
                ranks = []
                for past, judged in self._lessons:
                    strategy = self._build(entrant.fusion)
                    strategy.uses(self.models)
                    strategy.fit(past, self.context)
                    fell_back += isinstance(strategy, Learned) and strategy.fallback
                    ranks.append(_judge(strategy, judged))
                found = np.concatenate(ranks)
            else:
                found = _judge(strategy, self.judged)
            fusing_ms = self._time(strategy)
        except Exception as error:  # a plug-in may raise anything
            log.warning("tournament: %s failed: %s", entrant.name, error)
            said = f"{type(error).__name__}: {error}"
            spent = time.perf_counter() - start
            return Played(entrant, np.empty(0, np.int64), seconds=spent, error=said)
        spent = time.perf_counter() - start
        return Played(entrant, found, strategy.learns, fusing_ms, spent, asks, fell_back)

    def _time(self, strategy: Strategy) -> float | None:
        spent = []
        for pool in self._one_by_one:
            start = time.perf_counter()
            strategy.fuse(pool)
            spent.append(1000 * (time.perf_counter() - start))
        return float(np.median(spent)) if spent else None


def _judge(strategy: Strategy, judged: Labelled) -> npt.NDArray[np.int64]:
    fused = strategy.fuse(judged.pool)
    return target_ranks(fused.candidates, fused.scores, judged.targets)
