"""An in-memory `Pool`, and small batches of candidates to put into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates, Missing
from fusion.protocols import Labelled, Provenance
from fusion.queries import Queries
from fusion.ragged import Ragged

PAST = Provenance("past of the window", 1000, 5e8)
EVERYTHING = Provenance("the past and the window", 1200, 6e8)


@dataclass(frozen=True)
class MemoryPool:
    """Columns that are there already; `asked` notes who was asked for how many rows."""

    queries: Queries
    union: Candidates
    popularity: npt.NDArray[np.float64]
    asked: list[tuple[tuple[str, ...], int]] = field(default_factory=list)

    @property
    def models(self) -> tuple[str, ...]:
        return self.union.models

    def candidates(self) -> Candidates:
        return self.union

    def complete(self, candidates: Candidates, models: tuple[str, ...]) -> Candidates:
        self.asked.append((models, len(candidates)))
        wide = np.int64(2) ** 32
        mine = self.union.rows * wide + self.union.items
        order = np.argsort(mine)
        theirs = candidates.rows * wide + candidates.items
        at = order[np.searchsorted(mine, theirs, sorter=order)]
        chosen = self.union.only(models)
        return Candidates(
            candidates.offsets, candidates.items, chosen.scores[at], models, chosen.why[at]
        )

    def take(self, queries: npt.NDArray[np.int64]) -> MemoryPool:
        return MemoryPool(self.queries.take(queries), self.union.take(queries), self.popularity)

    def with_union(self, union: Candidates) -> MemoryPool:
        return replace(self, union=union, asked=[])


def candidates_of(
    lists: Sequence[Mapping[int, Sequence[float | Missing | None]]], models: str = "abcdefgh"
) -> Candidates:
    """From ``[{item: (score of a, score of b, ...)}, ...]``, one mapping a query.

    A `Missing` instead of a score is the reason for its absence.
    """
    items, scores, why = [], [], []
    for query in lists:
        for item, row in query.items():
            items.append(item)
            missing = [isinstance(s, Missing) for s in row]
            scores.append([np.nan if gone else s for s, gone in zip(row, missing, strict=True)])
            why.append([s if gone else 0 for s, gone in zip(row, missing, strict=True)])
    n = len(scores[0]) if scores else 0
    offsets = np.concatenate([[0], np.cumsum([len(query) for query in lists])]).astype(np.int64)
    return Candidates(
        offsets,
        np.array(items, np.int32),
        np.array(scores, np.float32).reshape(len(items), n),
        tuple(models[:n]),
        np.array(why, np.uint8).reshape(len(items), n),
    ).checked()


def pool_of(candidates: Candidates, n_items: int = 1000) -> MemoryPool:
    """Queries without history over ``candidates``; every item equally popular."""
    queries = Queries.from_history(Ragged.empty(candidates.n_queries))
    return MemoryPool(queries, candidates, np.full(n_items, 1 / n_items))


def random_candidates(
    rng: np.random.Generator,
    n_queries: int = 20,
    n_items: int = 60,
    models: Sequence[str] = ("a", "b", "c"),
    longest: int = 30,
    missing: float = 0.3,
    levels: int = 0,
) -> Candidates:
    """Lists of 0 to ``longest`` items; with ``levels``, scores are few integers, so ties abound."""
    lengths = rng.integers(0, longest + 1, n_queries)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.concatenate(
        [rng.choice(n_items, n, replace=False) for n in lengths] or [np.empty(0, int)]
    ).astype(np.int32)
    shape = (len(items), len(models))
    scores = rng.integers(0, levels, shape) if levels else rng.normal(size=shape)
    why = np.where(rng.random(shape) < missing, rng.integers(1, 5, shape), 0).astype(np.uint8)
    scores = np.where(why > 0, np.nan, scores).astype(np.float32)
    return Candidates(offsets, items, scores, tuple(models), why).checked()


def window_of(
    n_queries: int = 60,
    n_items: int = 200,
    width: int = 40,
    seed: int = 0,
    noise: Mapping[str, float] | None = None,
) -> Labelled:
    """A synthetic window: each model sees the target's worth through noise of its own.

    Args:
        n_queries: queries, each of a user of its own, each with its target among the candidates.
        n_items: items in the catalogue.
        width: candidates a query.
        seed: of everything.
        noise: model -> standard deviation of its noise around an item's worth (the target's is 1,
            the others' 0).
    """
    noise = {"strong": 0.5, "weak": 1.5} if noise is None else noise
    rng = np.random.default_rng(seed)
    items = np.concatenate(
        [np.sort(rng.choice(n_items, width, replace=False)) for _ in range(n_queries)]
    ).astype(np.int32)
    offsets = np.arange(n_queries + 1, dtype=np.int64) * width
    targets = items[offsets[:-1] + rng.integers(0, width, n_queries)]
    worth = (items == np.repeat(targets, width)).astype(np.float64)
    columns = [(worth + rng.normal(size=len(items)) * sd) * 3 for sd in noise.values()]
    scores = np.column_stack(columns).astype(np.float32)
    union = Candidates(offsets, items, scores, tuple(noise), np.zeros(scores.shape, np.uint8))
    lengths = rng.integers(1, 9, n_queries)
    history = Ragged.of([rng.choice(n_items, n, replace=False) for n in lengths])
    queries = replace(
        Queries.from_history(history),
        users=np.arange(n_queries, dtype=np.int32),
        times=np.sort(rng.uniform(0, 1e6, len(history.values))),
        now=np.full(n_queries, 1.1e6),
    )
    popularity = rng.dirichlet(np.ones(n_items))
    pool = MemoryPool(queries, union.checked(), popularity)
    return Labelled(pool, targets, PAST, dict.fromkeys(noise, PAST))
