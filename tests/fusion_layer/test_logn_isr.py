from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.logn_isr import LogNISR

GONE = Missing.NOT_RETRIEVED
# ranks: a 3, 1, 2; b 2, -, 1
LISTS = candidates_of([{1: (5, 1), 2: (7, GONE), 3: (6, 2)}, {}, {4: (0, Missing.TIMED_OUT)}])


def test_arithmetic() -> None:
    one, two = np.log(1 + 0.01), np.log(2 + 0.01)
    np.testing.assert_allclose(
        LogNISR().contributions(LISTS, np.array([1.0, 3.0])),
        [[two / 3**2, two * 3 / 2**2], [one, 0], [two / 2**2, two * 3 / 1], [one, 0]],
    )


def test_sigma() -> None:
    given = LogNISR({"sigma": 1}).fused(LISTS, np.ones(2))
    np.testing.assert_allclose(given[1], np.log(2))


@pytest.mark.parametrize("sigma", [0, -1, float("nan"), float("inf")])
def test_bad_sigma(sigma: float) -> None:
    with pytest.raises(ValidationError):
        LogNISR({"sigma": sigma})
