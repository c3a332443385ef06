from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.rbc import RBC

GONE = Missing.NOT_RETRIEVED
# ranks: a 3, 1, 2; b 2, -, 1
LISTS = candidates_of([{1: (5, 1), 2: (7, GONE), 3: (6, 2)}, {}, {4: (0, Missing.TIMED_OUT)}])


def test_arithmetic() -> None:
    np.testing.assert_allclose(
        RBC({"phi": 0.8}).contributions(LISTS, np.array([1.0, 3.0])),
        [[0.2 * 0.8**2, 3 * 0.2 * 0.8], [0.2, 0], [0.2 * 0.8, 3 * 0.2], [0.2, 0]],
    )


@pytest.mark.parametrize("phi", [0, 1, -0.1, 1.1, float("nan")])
def test_bad_phi(phi: float) -> None:
    with pytest.raises(ValidationError):
        RBC({"phi": phi})
