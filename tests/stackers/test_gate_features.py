from __future__ import annotations

from dataclasses import replace

import numpy as np
from fusion_layer.pools import random_candidates
from scipy.stats import skew

from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.stackers.base import View
from fusion.stackers.gate_features import GATE_FEATURES, gate_features


def view_of(missing: float = 0.3) -> View:
    lists = random_candidates(np.random.default_rng(1), n_queries=12, missing=missing)
    queries = Queries.from_history(Ragged.of([[1] * (q % 4) for q in range(12)]))
    ages = np.where(np.arange(12) % 3 > 0, np.arange(12.0), np.nan)
    return View(lists, queries, np.full(60, 1 / 60), ages)


def test_what_they_are_row_by_row() -> None:
    view = view_of()
    candidates, found = view.candidates, gate_features(view)
    assert found.shape == (len(candidates), 3, len(GATE_FEATURES))
    for row, query in enumerate(candidates.rows):
        inside = np.flatnonzero(candidates.rows == query)
        others = inside[inside != row]
        scores = candidates.scores.astype(np.float64)
        for m in range(3):
            history, age, known, scored, agreement, sharpness = found[row, m]
            assert history == np.log1p(query % 4)
            assert (age, known) == ((np.log1p(query), 1) if query % 3 else (0, 0))
            np.testing.assert_allclose(scored, np.mean(~np.isnan(scores[inside, m])))
            own = scores[others, m]
            own = own[~np.isnan(own)]
            shape = skew(own) if len(own) > 1 else 0.0
            np.testing.assert_allclose(np.sinh(sharpness), shape, atol=1e-6)
            alike = 0.0
            for other in {0, 1, 2} - {m}:
                pair = scores[others][:, [m, other]]
                pair = pair[~np.isnan(pair).any(axis=1)]
                if len(pair) > 1:
                    alike += np.corrcoef(pair.T)[0, 1] / 2
            np.testing.assert_allclose(agreement, alike, atol=1e-6)


def test_a_rows_own_score_does_not_enter() -> None:
    view = view_of()
    before = gate_features(view)
    present = np.argwhere(view.candidates.why == 0)
    for row, m in present[::7]:
        scores = view.candidates.scores.copy()
        scores[row, m] += 50
        after = gate_features(replace(view, candidates=replace(view.candidates, scores=scores)))
        np.testing.assert_allclose(after[row], before[row], atol=1e-6)
        assert not np.allclose(after, before, atol=1e-6)  # but the other rows see it


def test_few_rows_and_one_model() -> None:
    view = view_of(missing=0.9)
    assert np.isfinite(gate_features(view)).all()
    alone = replace(view, candidates=view.candidates.only(("b",)))
    found = gate_features(alone)
    assert (found[:, 0, GATE_FEATURES.index("agreement")] == 0).all()
