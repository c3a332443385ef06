from __future__ import annotations

import numpy as np
from fusion_layer.pools import random_candidates

from fusion.protocols import Fused
from fusion.tuning.joining import joined


def answer(seed: int, n: int, names: str) -> Fused:
    """Queries of all lengths, and for each of ``names`` contributions that are nobody else's."""
    lists = random_candidates(np.random.default_rng(seed), n_queries=n)
    parts = np.random.default_rng(seed).normal(size=(len(lists), len(names)))
    return Fused.of(lists, parts.sum(axis=1), tuple(names), parts)


def test_every_query_comes_to_its_place_with_its_own_parts() -> None:
    one, other = answer(0, 3, "ab"), answer(1, 2, "ba")
    where = [np.array([0, 3, 4]), np.array([1, 2])]
    whole = joined([one, other], where)
    assert whole.parts == ("a", "b")
    for part, queries in zip((one, other), where, strict=True):
        columns = [whole.parts.index(name) for name in part.parts]
        for at, query in enumerate(queries):
            mine = slice(*part.candidates.offsets[at : at + 2].tolist())
            rows = slice(*whole.candidates.offsets[query : query + 2].tolist())
            np.testing.assert_array_equal(whole.candidates.items[rows], part.candidates.items[mine])
            np.testing.assert_array_equal(whole.scores[rows], part.scores[mine])
            given = whole.explain(np.arange(rows.start, rows.stop))
            np.testing.assert_array_equal(given[:, columns], part.contributions[mine])


def test_rows_are_explained_in_the_order_asked() -> None:
    whole = joined([answer(0, 2, "a"), answer(1, 2, "a")], [np.array([1, 3]), np.array([0, 2])])
    rows = np.arange(len(whole.scores))[::-3]
    np.testing.assert_array_equal(whole.explain(rows)[:, 0], whole.scores[rows])
