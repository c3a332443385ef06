from __future__ import annotations

import numpy as np
from pools import candidates_of, random_candidates

from fusion.candidates import Missing
from fusion.normalizations.log_softmax import LogSoftmax
from fusion.normalizations.softmax import Softmax

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 5), 2: (3, COLD), 3: (6, 5)}, {}, {4: (-8, COLD)}])
    log_sum = np.log(np.exp([2.0, 3.0, 6.0]).sum())
    np.testing.assert_allclose(
        LogSoftmax().normalize(lists),
        [[2 - log_sum, -np.log(2)], [3 - log_sum, np.nan], [6 - log_sum, -np.log(2)], [0, np.nan]],
        rtol=1e-14,
    )


def test_the_logarithm_of_softmax() -> None:
    lists = random_candidates(np.random.default_rng(0))
    setting = {"temperature": 0.3}
    np.testing.assert_allclose(
        np.exp(LogSoftmax(setting).normalize(lists)), Softmax(setting).normalize(lists), rtol=1e-12
    )


def test_extremes_keep_their_order() -> None:
    top = float(np.finfo(np.float32).max)
    lists = candidates_of([{1: (-top,), 2: (-top / 2,), 3: (top,)}])
    found = LogSoftmax({"temperature": 1e-9}).normalize(lists).ravel()
    assert np.isfinite(found).all()
    assert found[0] < found[1] < found[2] == 0
