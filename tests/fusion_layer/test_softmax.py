from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.normalizations.softmax import Softmax

COLD = Missing.COLD


def test_arithmetic() -> None:
    lists = candidates_of([{1: (2, 10), 2: (3, COLD), 3: (6, 12)}, {}, {4: (-8, COLD)}])
    a = np.exp([2.0, 3.0, 6.0])
    b = np.exp([10.0, 12.0])
    np.testing.assert_allclose(
        Softmax().normalize(lists),
        [
            [a[0] / a.sum(), b[0] / b.sum()],
            [a[1] / a.sum(), np.nan],
            [a[2] / a.sum(), b[1] / b.sum()],
            [1, np.nan],
        ],
        rtol=1e-14,
    )


def test_temperature() -> None:
    lists = candidates_of([{1: (2,), 2: (3,)}])
    odds = np.exp((3 - 2) / 0.5)
    found = Softmax({"temperature": 0.5}).normalize(lists).ravel()
    np.testing.assert_allclose(found, [1 / (1 + odds), odds / (1 + odds)], rtol=1e-14)


def test_equal_scores() -> None:
    lists = candidates_of([dict.fromkeys(range(5), (1e30,))])
    np.testing.assert_array_equal(Softmax().normalize(lists).ravel(), [1 / 5] * 5)


def test_extremes() -> None:
    top = float(np.finfo(np.float32).max)
    lists = candidates_of([{1: (-top,), 2: (top,)}])
    for temperature in (1e-9, 1.0):
        found = Softmax({"temperature": temperature}).normalize(lists).ravel()
        assert found.tolist() == [0, 1]
    even = Softmax({"temperature": 1e9}).normalize(candidates_of([{1: (0,), 2: (1,)}]))
    np.testing.assert_allclose(even, 1 / 2, atol=1e-9)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf"), 1e-300])
def test_bad_temperature(temperature: float) -> None:
    with pytest.raises(ValidationError):
        Softmax({"temperature": temperature})
