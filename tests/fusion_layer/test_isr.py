from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.isr import ISR

GONE = Missing.NOT_RETRIEVED
# ranks: a 3, 1, 2; b 2, -, 1
LISTS = candidates_of([{1: (5, 1), 2: (7, GONE), 3: (6, 2)}, {}, {4: (0, Missing.TIMED_OUT)}])


def test_arithmetic() -> None:
    np.testing.assert_array_equal(
        ISR().contributions(LISTS, np.array([1.0, 3.0])),
        [[2 / 3**2, 2 * 3 / 2**2], [1, 0], [2 / 2**2, 2 * 3 / 1], [1, 0]],
    )


def test_a_model_of_weight_0_is_not_counted() -> None:
    assert ISR().fused(LISTS, np.array([1.0, 0.0])).tolist() == [1 / 9, 1, 1 / 4, 1]
