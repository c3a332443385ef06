from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.log_isr import LogISR

GONE = Missing.NOT_RETRIEVED
# ranks: a 3, 1, 2; b 2, -, 1
LISTS = candidates_of([{1: (5, 1), 2: (7, GONE), 3: (6, 2)}, {}, {4: (0, Missing.TIMED_OUT)}])


def test_arithmetic() -> None:
    log = np.log(2)
    np.testing.assert_allclose(
        LogISR().contributions(LISTS, np.array([1.0, 3.0])),
        [[log / 3**2, log * 3 / 2**2], [0, 0], [log / 2**2, log * 3 / 1], [0, 0]],
    )


def test_a_row_that_nobody_scored_gets_0() -> None:
    lists = candidates_of([{1: (GONE, GONE), 2: (1, 2)}])
    assert LogISR().fused(lists, np.ones(2)).tolist() == [0, 2 * np.log(2)]
