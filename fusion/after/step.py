"""What a step after fusion is: it turns one ranking into another, and says what it did.

A ranking is columns, like everything that flows: the fused rows of a batch, best first. A step may
leave rows out, reorder them, insert items, or change scores; it never touches the ranking that it
was given. Where it acts on chance it draws from a generator of each query's own, so that a query
gets the same list alone and in a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Catalog
from fusion.protocols import Component, Fused
from fusion.queries import Queries
from fusion.ragged import segment_rank

__all__ = ["ItemVectors", "Phase", "Ranking", "Removed", "Step", "StepContext"]

#: items (R,) int32 -> (R, D) float32, one vector an item, of any length
ItemVectors = Callable[[npt.NDArray[np.int32]], npt.NDArray[np.float32]]


class Phase(IntEnum):
    """When a step may run; in a pipeline the phases never fall.

    A boost sorts by score, so it comes before what reorders for other reasons; propensities are
    exact only while nothing reorders the drawn list; a pin promises a place in what is shown.
    """

    FILTER = 0
    BOOST = 1
    ORDER = 2
    EXPLORE = 3
    PIN = 4


@dataclass(frozen=True, slots=True)
class Removed:
    """Items that one rule took out, and that would have been shown in their place.

    Attributes:
        step: the step's label in the pipeline.
        reason: the rule in words.
        queries: (R,) int64.
        items: (R,) int32 item_index.
    """

    step: str
    reason: str
    queries: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ranked items of ``Q`` queries, best first.

    Attributes:
        offsets: (Q+1,) int64; query ``q`` owns the rows ``offsets[q]:offsets[q+1]``.
        items: (N,) int32 item_index, unique inside a query.
        scores: (N,) float64; NaN for an inserted item, for which no model spoke. They need not
            fall: only a boost changes scores, the other steps change the order.
        rows: (N,) int64: the row of the `Fused`, -1 for an inserted item.
        propensities: (N,) float64 in (0, 1]: the probability with which exploration chose the
            item for its place, given the places before; 1 where nothing was left to chance.
        notes: (query, item_index) -> what was done to the item, in words.
        removed: what rules took out.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    propensities: npt.NDArray[np.float64]
    notes: Mapping[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)
    removed: tuple[Removed, ...] = ()

    @classmethod
    def of(cls, fused: Fused) -> Ranking:
        """Every row of ``fused``, by falling score, then by item index."""
        candidates = fused.candidates
        order, _ = segment_rank(candidates.offsets, (candidates.items, -fused.scores))
        return cls(
            candidates.offsets,
            candidates.items[order],
            fused.scores[order],
            order,
            np.ones(len(order)),
        )

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(Q,) int64."""
        return np.diff(self.offsets)

    @property
    def queries(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the query of each row."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int64), self.lengths)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the place of each row in its query's list, from 1."""
        return np.arange(len(self), dtype=np.int64) - self.offsets[self.queries] + 1

    def take(self, order: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Ranking:
        """The rows ``order``, query after query, ``lengths`` (Q,) of them each."""
        return replace(
            self,
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            items=self.items[order],
            scores=self.scores[order],
            rows=self.rows[order],
            propensities=self.propensities[order],
        )

    def where(self, keep: npt.NDArray[np.bool_]) -> Ranking:
        """The rows where ``keep`` (N,) is true; every query stays, perhaps empty."""
        kept = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        return self.take(np.flatnonzero(keep), np.diff(kept[self.offsets]))

    def head(self, n: int) -> Ranking:
        """The first ``n`` rows of each query."""
        return self.where(self.places <= n)

    def noted(self, where: Iterable[tuple[int, int]], text: str) -> Ranking:
        """With one more note for each (query, item_index)."""
        notes = dict(self.notes)
        for key in where:
            notes[key] = (*notes.get(key, ()), text)
        return replace(self, notes=notes)

    def without(
        self, gone: npt.NDArray[np.bool_], k: int, step: str, reasons: npt.NDArray[np.object_]
    ) -> Ranking:
        """Without the rows where ``gone`` (N,) is true; those that ``k`` would show are recorded.

        Args:
            gone: the rows to leave out.
            k: a row is recorded if fewer than ``k`` rows before it stay.
            step: the step's label.
            reasons: (N,) text, read where ``gone``.
        """
        stays = np.concatenate([[0], np.cumsum(~gone)])
        before = stays[:-1] - stays[self.offsets[self.queries]]
        seen = gone & (before < k)
        records = tuple(
            Removed(step, str(reason), self.queries[at], self.items[at])
            for reason in dict.fromkeys(reasons[seen].tolist())
            for at in [np.flatnonzero(seen & (reasons == reason))]
        )
        return replace(self.where(~gone), removed=(*self.removed, *records))


@dataclass(frozen=True)
class StepContext:
    """What a step may know beside the ranking.

    Attributes:
        queries: the same ``Q`` queries.
        catalog: the items.
        k: length of the list that is shown.
        wanted: how many places this step must fill well for the steps after it; at least ``k``.
        label: the step's name in the pipeline, for notes and records.
        bound: what the step's own `Step.bind` gave.
        allowed: (I,) bool: what every filter of the pipeline lets through; ``None`` = everything.
        item_vectors: vectors of items for similarity; ``None`` = there are none.
        seed: of this request.
    """

    queries: Queries
    catalog: Catalog
    k: int
    wanted: int
    label: str
    bound: Any = None
    allowed: npt.NDArray[np.bool_] | None = None
    item_vectors: ItemVectors | None = None
    seed: int = 0

    def generator(self, q: int) -> np.random.Generator:
        """A generator for query ``q``, from the seed, the step and what is known of the query.

        Its place in the batch does not enter, so batch equals single; two equal queries of one
        request draw alike.
        """
        asked = self.queries
        digest = blake2b(self.label.encode(), digest_size=16)
        digest.update(asked.users[q].tobytes() + asked.now[q].tobytes())
        for items in (asked.history[q], asked.excluded[q]):
            digest.update(len(items).to_bytes(8, "little") + items.tobytes())
        return np.random.default_rng([self.seed, int.from_bytes(digest.digest(), "little")])


class Step(Component, ABC):
    """One step after fusion; immutable, so that many requests may use it at once."""

    #: when it may run; see `Phase`
    phase: ClassVar[Phase] = Phase.ORDER

    def depth(self, k: int) -> int:
        """How many items of the fused list it needs to fill ``k`` places; at least ``k``."""
        return k

    def bind(self, catalog: Catalog) -> Any:
        """What it looks up in the catalogue, once; `apply` finds it in ``context.bound``.

        Raises:
            ConfigError: the step names a field or an item that is not there.
            DataError: a field does not hold what the step needs.
        """
        return None

    def allowed(self, bound: Any) -> npt.NDArray[np.bool_] | None:
        """(I,) bool: the items that it lets through, for steps that insert; ``None`` = all."""
        return None

    @abstractmethod
    def apply(self, ranking: Ranking, context: StepContext) -> Ranking:
        """The ranking after this step. Nothing of one query may depend on another."""
