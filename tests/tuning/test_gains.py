from __future__ import annotations

import numpy as np
import pytest
from fusion_layer.pools import candidates_of, random_candidates

from fusion.errors import ConfigError
from fusion.evaluation.metrics import METRICS, per_query
from fusion.protocols import Fused
from fusion.ragged import Ragged
from fusion.topk import top_of
from fusion.tuning.gains import TargetRows, gains_of


def test_the_gain_of_each_rank() -> None:
    np.testing.assert_allclose(gains_of("NDCG@3"), [0, 1, 1 / np.log2(3), 1 / 2, 0])
    np.testing.assert_allclose(gains_of("MRR@2"), [0, 1, 1 / 2, 0])
    np.testing.assert_allclose(gains_of("HR@2"), [0, 1, 1, 0])
    np.testing.assert_allclose(gains_of("Precision@2"), [0, 1 / 2, 1 / 2, 0])


@pytest.mark.parametrize("metric", ["NDCG", "ndcg@10", "NDCG@0", "Fame@3", "NDCG@1000000"])
def test_a_metric_that_is_none(metric: str) -> None:
    with pytest.raises(ConfigError, match=f"a metric with its cutoff.*'{metric}'"):
        gains_of(metric)


def test_equal_scores_are_ordered_by_item() -> None:
    lists = candidates_of([{3: (1,), 5: (1,), 9: (2,)}, {}, {2: (7,)}])
    rows = TargetRows(lists, np.array([5, 1, 8], np.int32))
    # 9 is ahead, 3 ties and stands before; no candidates; a target that is not listed
    assert rows.ranks(lists.scores[:, 0].astype(float)).tolist() == [3, 0, 0]


@pytest.mark.parametrize("metric", [f"{name}@4" for name in METRICS])
def test_it_is_the_metric_of_the_lists(metric: str) -> None:
    rng = np.random.default_rng(1)
    lists = random_candidates(rng, n_queries=80, n_items=40, missing=0.0, levels=4)
    targets = rng.integers(0, 40, 80).astype(np.int32)
    scores = lists.scores[:, 0].astype(np.float64)
    fused = Fused.of(lists, scores, ("a",), scores[:, None])
    expected = per_query(
        top_of(fused, 4).matrix(4), Ragged.of([[int(t)] for t in targets]), [metric]
    )[metric]
    ranks = TargetRows(lists, targets).ranks(scores)
    gains = gains_of(metric)
    np.testing.assert_allclose(gains[np.minimum(ranks, len(gains) - 1)], expected)
    assert 0 < expected.mean() < 1
