from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import candidates_of

from fusion.normalizations.isotonic import Isotonic


def fitted(scores: list[float], labels: list[float]) -> Isotonic:
    method = Isotonic({"scale": "raw"})
    lists = candidates_of([{i: (score,) for i, score in enumerate(scores)}])
    method.fit(lists, np.array(labels, np.float32))
    return method


def test_arithmetic() -> None:
    method = fitted([1, 2, 3, 4], [0, 1, 0, 1])
    # and one row of the overall 1/2 at either end: shares 1/4, 1, 0, 3/4 of 2, 1, 1, 2 rows;
    # 1 before 0 is pooled: 1/2 of two rows, centred on 2.5
    curve = method.state()["models"]["a"]
    assert curve["score"] == pytest.approx([1, 2.5, 4])
    assert curve["rate"] == pytest.approx([1 / 4, 1 / 2, 3 / 4])
    now = candidates_of([{1: (0,), 2: (1.75,), 3: (3.4,), 4: (9,)}])
    expected = [1 / 4, (1 / 4 + 1 / 2) / 2, 1 / 2 + (3.4 - 2.5) / 1.5 / 4, 3 / 4]
    np.testing.assert_allclose(method.normalize(now).ravel(), expected, rtol=1e-6)


def test_equal_scores_are_one_point_whatever_their_order() -> None:
    one = fitted([1, 2, 2, 2, 3], [0, 1, 0, 0, 1]).state()
    other = fitted([2, 3, 2, 1, 2], [0, 1, 0, 0, 1]).state()
    assert one == other


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([3, 10, 1000]))
def test_the_blocks_are_those_of_scikit_learn(seed: int, levels: int) -> None:
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, 60).astype(np.float64)
    labels = (rng.random(60) < 0.2 + 0.5 * scores / levels).astype(np.float64)
    curve = fitted(scores.tolist(), labels.tolist()).state()["models"]["a"]
    overall = labels.mean()
    theirs = IsotonicRegression().fit(
        [scores.min(), *scores, scores.max()], [overall, *labels, overall]
    )
    np.testing.assert_allclose(theirs.predict(curve["score"]), curve["rate"], atol=1e-12)
    assert set(np.round(curve["rate"], 9)) == set(np.round(theirs.predict(scores), 9))
