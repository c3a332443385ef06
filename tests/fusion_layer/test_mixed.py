from __future__ import annotations

import numpy as np
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.mixed import Mixed

GONE = Missing.NOT_RETRIEVED
# min-max: a 0, 1, 1/4; b 1, -, 0
LISTS = candidates_of([{1: (2, 30), 2: (6, GONE), 3: (3, 10)}, {}, {4: (5, Missing.COLD)}])


def test_arithmetic() -> None:
    root = np.sqrt(2)
    np.testing.assert_allclose(
        Mixed().contributions(LISTS, np.array([1.0, 3.0])),
        [[root * 0, root * 3 * 1], [1, 0], [root * 1 / 4, root * 3 * 0], [1, 0]],
    )


def test_a_model_of_weight_0_is_not_counted() -> None:
    given = Mixed().contributions(LISTS, np.array([1.0, 0.0]))
    np.testing.assert_array_equal(given, [[0, 0], [1, 0], [1 / 4, 0], [1, 0]])
