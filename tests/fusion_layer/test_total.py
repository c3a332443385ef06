from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from pools import random_candidates

from fusion.candidates import Candidates
from fusion.methods import base
from fusion.methods.comb_med import CombMED
from fusion.methods.rrf import RRF
from fusion.methods.total import explain_by, fused_scores, total
from fusion.protocols import Method

LISTS = random_candidates(np.random.default_rng(0))
WEIGHTS = np.array([0.5, 1.0, 2.0])


class Plain(Method):
    """No `WorthMethod`: it gives contributions only, as a third party's may."""

    def contributions(
        self, candidates: Candidates, weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        return np.nan_to_num(candidates.scores.astype(np.float64)) * weights


@pytest.mark.parametrize("method", [RRF(), CombMED(), Plain()])
def test_a_range_at_a_time(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fused_scores(method, LISTS, WEIGHTS)
    np.testing.assert_allclose(
        whole, method.contributions(LISTS, WEIGHTS).sum(axis=1), rtol=1e-12, atol=1e-15
    )
    monkeypatch.setattr(base.chunks, "__defaults__", (7,))
    np.testing.assert_array_equal(fused_scores(method, LISTS, WEIGHTS), whole)


def test_only_the_rows_asked_for_are_explained() -> None:
    rows = np.array([len(LISTS) - 1, 0, 5])
    expected = RRF().contributions(LISTS, WEIGHTS)[rows]
    np.testing.assert_array_equal(explain_by(RRF(), LISTS, WEIGHTS)(rows), expected)


def test_total_is_there_by_its_old_name() -> None:
    assert total(np.array([[1.0, 2.0]])).tolist() == [3]
