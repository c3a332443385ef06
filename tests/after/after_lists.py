"""Small fused lists and a catalogue for the steps' tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion import Queries
from fusion.after.pipeline import After, Shown
from fusion.candidates import Candidates
from fusion.data.dataset import Catalog
from fusion.data.vocabulary import Vocabulary
from fusion.protocols import Fused
from fusion.ragged import Ragged


def catalog_of(n: int = 12, **fields: Sequence[Any]) -> Catalog:
    """Items ``i0``, ``i1``...; item ``i`` has index i."""
    ids = tuple(f"i{at}" for at in range(n))
    return Catalog(
        Vocabulary("item", ids), ("",) * n, ids, {k: tuple(v) for k, v in fields.items()}
    )


def fused_of(*lists: Mapping[int, float]) -> Fused:
    """One mapping item -> score a query; two parts that give a quarter and three of it."""
    items = np.array([item for own in lists for item in own], np.int32)
    scores = np.array([score for own in lists for score in own.values()], np.float64)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in lists])]).astype(np.int64)
    parts = np.column_stack([scores * 0.25, scores * 0.75])
    return Fused.of(Candidates.bare(offsets, items), scores, ("a", "b"), parts)


def falling(*items: int) -> dict[int, float]:
    """The items in that order, with the scores n, n-1, ..., 1."""
    return {item: float(len(items) - at) for at, item in enumerate(items)}


def queries_of(*histories: Sequence[int], exclude_seen: bool = True) -> Queries:
    return Queries.from_history(Ragged.of(histories), exclude_seen=exclude_seen)


def show(
    steps: Sequence[Any],
    fused: Fused,
    catalog: Catalog,
    k: int = 3,
    *,
    queries: Queries | None = None,
    seed: int = 0,
    **options: Any,
) -> Shown:
    asked = queries_of(*[[]] * fused.candidates.n_queries) if queries is None else queries
    return After(steps).apply(fused, asked, catalog, k, np.random.default_rng(seed), **options)


def items_of(shown: Shown, q: int = 0) -> list[int]:
    top = shown.top
    return top.items[top.offsets[q] : top.offsets[q + 1]].tolist()


def random_lists(
    rng: np.random.Generator, n_queries: int = 5, n_items: int = 40, longest: int = 30
) -> tuple[Fused, Queries, Catalog]:
    """Lists of 0 to ``longest`` items, histories, and categories: some items have none."""
    lists = []
    for _ in range(n_queries):
        items = rng.choice(n_items, int(rng.integers(0, longest + 1)), replace=False)
        lists.append(
            {int(i): float(s) for i, s in zip(items, rng.normal(size=len(items)), strict=True)}
        )
    names = np.array(list("vwxyz"))
    categories = [names[rng.random(5) < 0.3].tolist() for _ in range(n_items)]
    histories = [
        rng.choice(n_items, int(rng.integers(0, 6)), replace=False).tolist()
        for _ in range(n_queries)
    ]
    queries = queries_of(*histories, exclude_seen=False)
    return fused_of(*lists), queries, catalog_of(n_items, categories=categories)
