from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.rrf import RRF

GONE = Missing.NOT_RETRIEVED
LISTS = candidates_of([{1: (5, 1), 2: (7, GONE), 3: (6, 2)}, {}, {4: (0, Missing.TIMED_OUT)}])


def test_arithmetic() -> None:
    np.testing.assert_array_equal(
        RRF().contributions(LISTS, np.array([1.0, 3.0])),
        [[1 / 63, 3 / 62], [1 / 61, 0], [1 / 62, 3 / 61], [1 / 61, 0]],
    )


def test_k() -> None:
    given = RRF({"k": 0}).contributions(LISTS, np.ones(2))
    np.testing.assert_array_equal(given[:, 0], [1 / 3, 1, 1 / 2, 1])


@pytest.mark.parametrize("k", [-1, float("nan"), float("inf")])
def test_bad_k(k: float) -> None:
    with pytest.raises(ValidationError):
        RRF({"k": k})
