from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import DataError
from fusion.evaluation.agreement import overlap, rbo

rankings = st.lists(st.integers(0, 15), unique=True, max_size=10)


def test_overlap_is_the_share_of_the_longer_head() -> None:
    assert overlap([1, 2, 3], [3, 4, 1], 3) == 2 / 3
    assert overlap([1, 2, 3], [3, 4, 1], 2) == 0
    assert overlap([1], [1, 2], 5) == 1 / 2
    assert overlap([], [], 5) == 1
    assert overlap([], [1], 5) == 0


def test_rbo_of_three_written_out() -> None:
    # X_d = 0, 2, 2 for the prefixes of length 1, 2, 3
    p = 0.8
    want = (1 - p) / p * (0 / 1 * p + 2 / 2 * p**2 + 2 / 3 * p**3) + 2 / 3 * p**3
    assert rbo(["a", "b", "c"], ["b", "a", "d"], p) == pytest.approx(want, abs=1e-12)


def test_rbo_of_uneven_lists_written_out() -> None:
    # S = a, x and L = a, b, c, d: X_d = 1, 1, 1, 1; s = 2, l = 4, X_s = 1
    p = 0.9
    seen = 1 * p + 1 / 2 * p**2 + 1 / 3 * p**3 + 1 / 4 * p**4
    beyond = 1 * (3 - 2) / (2 * 3) * p**3 + 1 * (4 - 2) / (2 * 4) * p**4
    want = (1 - p) / p * (seen + beyond) + ((1 - 1) / 4 + 1 / 2) * p**4
    assert rbo("ax", "abcd", p) == pytest.approx(want, abs=1e-12)


def reference(s: list[int], t: list[int], p: float) -> float:
    """Webber et al., equation 32, term by term."""
    s, t = sorted((s, t), key=len)
    n, m = len(s), len(t)
    x = [len(set(s[:d]) & set(t[:d])) for d in range(m + 1)]
    one = sum(x[d] / d * p**d for d in range(1, m + 1))
    two = sum(x[n] * (d - n) / (n * d) * p**d for d in range(n + 1, m + 1))
    return (1 - p) / p * (one + two) + ((x[m] - x[n]) / m + x[n] / n) * p**m


@settings(deadline=None, max_examples=25)
@given(rankings.filter(bool), rankings.filter(bool), st.floats(0.1, 0.95))
def test_rbo_is_the_papers_formula_symmetric_and_bounded(
    a: list[int], b: list[int], p: float
) -> None:
    assert rbo(a, b, p) == pytest.approx(min(1.0, reference(a, b, p)), abs=1e-9)
    assert rbo(a, b, p) == rbo(b, a, p)
    assert 0 <= rbo(a, b, p) <= 1
    assert rbo(a, a, p) == pytest.approx(1)


def test_the_top_weighs_more() -> None:
    base = list(range(10))
    early, late = [1, 0, *base[2:]], [*base[:8], 9, 8]
    assert rbo(base, early) < rbo(base, late) < 1


def test_the_first_ten_ranks_have_86_percent_of_the_weight() -> None:
    # Webber et al., section 4.4: p = 0.9; the share a disagreement beyond rank 10 cannot touch
    p, d = 0.9, 10
    weight = (
        1
        - p ** (d - 1)
        + (1 - p) / p * d * (np.log(1 / (1 - p)) - sum(p**i / i for i in range(1, d)))
    )
    assert weight == pytest.approx(0.86, abs=0.005)


def test_empty_lists() -> None:
    assert rbo([], []) == 1
    assert rbo([], [1]) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: rbo([1], [1], 0),
        lambda: rbo([1], [1], 1),
        lambda: rbo([1, 1], [1]),
        lambda: overlap([1], [1], 0),
        lambda: overlap([1, 1], [1], 2),
    ],
)
def test_bad_input_is_refused(call: object) -> None:
    with pytest.raises(DataError):
        call()  # type: ignore[operator]
