from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of

from fusion.normalizations.platt import Platt

# scores 0 and 1: of three each, one and two are targets
LISTS = candidates_of([{1: (0,), 2: (1,)}] * 3)
LABELS = np.array([0, 1, 1, 0, 0, 1], np.float32)


def test_arithmetic() -> None:
    method = Platt({"scale": "raw"})
    method.fit(LISTS, LABELS)
    # three targets of (3 + 1) / (3 + 2), three others of 1 / (3 + 2)
    low, high = (0.8 + 0.2 + 0.2) / 3, (0.8 + 0.8 + 0.2) / 3
    found = method.normalize(LISTS).ravel()
    np.testing.assert_allclose(found, [low, high] * 3, rtol=1e-6)
    # log odds -log(3/2) at 0, log(3/2) at 1; mean 1/2, standard deviation 1/2
    curve = method.state()["models"]["a"]
    assert curve["mean"] == [0.5]
    assert curve["sd"] == [0.5]
    assert curve["slope"] == pytest.approx([np.log(3 / 2)], rel=1e-6)
    assert curve["intercept"] == pytest.approx([0], abs=1e-6)
    # beyond what was seen: three standard deviations up
    now = candidates_of([{5: (2,)}])
    expected = 1 / (1 + np.exp(-3 * np.log(3 / 2)))
    np.testing.assert_allclose(method.normalize(now), expected, rtol=1e-6)


def test_scores_that_separate_perfectly_have_a_finite_slope() -> None:
    method = Platt({"scale": "raw"})
    method.fit(LISTS, np.array([0, 1] * 3, np.float32))
    np.testing.assert_allclose(method.normalize(LISTS)[:2, 0], [1 / 5, 4 / 5], rtol=1e-6)
