from __future__ import annotations

from math import log2

import numpy as np
import pytest
from fusion_layer.pools import candidates_of, random_candidates
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import DataError
from fusion.evaluation.metrics import per_query
from fusion.protocols import Fused
from fusion.ragged import Ragged
from fusion.topk import top_of
from fusion.tournament.judging import hit, ndcg, reciprocal_rank, target_ranks


def test_ranks_by_hand() -> None:
    candidates = candidates_of([{4: (0.1,), 7: (0.9,), 9: (0.5,)}, {1: (1.0,), 2: (0.0,)}, {}])
    scores = candidates.scores[:, 0]
    # 7 > 9 > 4 in the first query, 1 > 2 in the second; nothing in the third
    assert target_ranks(candidates, scores, np.array([9, 2, 5])).tolist() == [2, 2, 0]
    assert target_ranks(candidates, scores, np.array([8, 1, 5])).tolist() == [0, 1, 0]


def test_equal_scores_are_ordered_by_item() -> None:
    candidates = candidates_of([{9: (1.0,), 2: (1.0,), 5: (1.0,), 7: (2.0,)}])
    scores = candidates.scores[:, 0]
    found = [int(target_ranks(candidates, scores, np.array([i]))[0]) for i in (7, 2, 5, 9)]
    assert found == [1, 2, 3, 4]


def test_infinities_are_scores() -> None:
    candidates = candidates_of([{1: (0.0,), 2: (0.0,), 3: (0.0,)}])
    scores = np.array([-np.inf, 0.0, np.inf])
    assert target_ranks(candidates, scores, np.array([1])).tolist() == [3]


def test_metrics_by_hand() -> None:
    ranks = np.array([1, 2, 10, 11, 0])
    assert hit(ranks, 10).tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_allclose(ndcg(ranks, 10), [1, 1 / log2(3), 1 / log2(11), 0, 0])
    np.testing.assert_allclose(reciprocal_rank(ranks, 10), [1, 0.5, 0.1, 0, 0])


@given(st.integers(0, 10_000), st.sampled_from([0, 3]), st.integers(1, 12))
@settings(deadline=None, max_examples=25)
def test_the_values_are_those_of_the_lists(seed: int, levels: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    candidates = random_candidates(rng, missing=0.0, levels=levels)
    targets = rng.integers(0, 60, candidates.n_queries).astype(np.int32)
    scores = candidates.scores[:, 0].astype(np.float64)
    fused = Fused.of(candidates, scores, ("a",), scores[:, None])
    top = top_of(fused, k, explain=False).matrix(k)
    names = [f"NDCG@{k}", f"HR@{k}", f"MRR@{k}"]
    expected = per_query(top, Ragged.of([[int(t)] for t in targets]), names)
    ranks = target_ranks(candidates, scores, targets)
    for name, measure in zip(names, (ndcg, hit, reciprocal_rank), strict=True):
        np.testing.assert_allclose(measure(ranks, k), expected[name])


def test_bad_input() -> None:
    candidates = candidates_of([{1: (0.0,), 2: (1.0,)}])
    with pytest.raises(DataError, match="NaN in 1 of 2"):
        target_ranks(candidates, np.array([np.nan, 1.0]), np.array([1]))
    with pytest.raises(DataError, match="2 scores and 1 targets"):
        target_ranks(candidates, np.zeros(3), np.array([1]))
    with pytest.raises(DataError, match="2 scores and 1 targets"):
        target_ranks(candidates, np.zeros(2), np.array([1, 2]))
