from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuning.propensity import weights
from finetuning.settings import Propensity


def test_by_hand() -> None:
    # 8 and 2 events: 1/8 and 1/2, times 5 so that (8 * 0.625 + 2 * 2.5) / 10 is 1
    assert weights([8, 2], Propensity(power=1.0)).tolist() == [0.625, 2.5]
    # a root: 1 and 2, the sum over events 8 + 4, so times 10 / 12
    found = weights([8, 2], Propensity(power=0.5))
    np.testing.assert_allclose(found, [10 / 12, 20 / 12], rtol=1e-6)


def test_the_clip_is_a_multiple_of_the_smallest() -> None:
    found = weights([1000, 10, 1, 0], Propensity(power=1.0, clip=50.0))
    assert found.max() / found.min() == pytest.approx(50.0)
    assert found[2] == found[3] == found[1] * 1.0 or found[1] == found[2] == found[3]


def test_off_and_nothing_known() -> None:
    assert weights([5, 1], Propensity()).tolist() == [1.0, 1.0]
    assert weights([0, 0], Propensity(power=1.0)).tolist() == [1.0, 1.0]
    assert len(weights([], Propensity(power=1.0))) == 0


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.floats(0.1, 1.0))
def test_the_events_weigh_one_each_on_average(counts: Any, power: float) -> None:
    found = weights(counts, Propensity(power=power))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    if sum(counts):
        assert np.average(found, weights=counts) == pytest.approx(1.0, rel=1e-4)
        order = np.argsort(counts)
        assert (np.diff(found[order]) <= 1e-6).all(), "rarer weighs no less"
    share = np.array(counts) / max(sum(counts), 1)
    np.testing.assert_allclose(weights(share, Propensity(power=power)), found, rtol=1e-5)
