from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from fusion import Candidates
from fusion.distillation.agreement import as_matrix, top_overlap, top_tau

NAN = float("nan")


def test_written_out() -> None:
    teacher = np.array([[4.0, 3.0, 2.0, 1.0]])
    student = np.array([[3.0, 4.0, 1.0, 2.0]])
    # k = 1: (0,1) wrong, (0,2) and (0,3) right
    assert top_tau(teacher, student, 1)[0] == pytest.approx((2 - 1) / 3)
    # k = 2: also (1,2) and (1,3) right
    assert top_tau(teacher, student, 2)[0] == pytest.approx((4 - 1) / 5)
    # k = 4: also (2,3) wrong
    assert top_tau(teacher, student, 4)[0] == pytest.approx((4 - 2) / 6)
    assert top_overlap(teacher, student, 1)[0] == 0
    assert top_overlap(teacher, student, 2)[0] == 1
    assert top_overlap(teacher, student, 3)[0] == pytest.approx(2 / 3)
    assert top_overlap(teacher, student, 10)[0] == 1


def test_ties_and_missing_scores() -> None:
    teacher = np.array([[3.0, 2.0, 1.0]])
    # a tie of the student's says nothing; a missing score is below all
    assert top_tau(teacher, np.array([[1.0, 1.0, 1.0]]), 3)[0] == 0
    assert top_tau(teacher, np.array([[1.0, 0.0, NAN]]), 3)[0] == 1
    assert top_tau(teacher, np.array([[NAN, NAN, 0.0]]), 3)[0] == pytest.approx((0 - 2) / 3)
    assert top_overlap(teacher, np.array([[NAN, 1.0, 0.0]]), 2)[0] == 0.5
    # what the teacher ties or did not judge is not asked
    assert top_tau(np.array([[2.0, 2.0, NAN]]), np.array([[1.0, 2.0, 3.0]]), 3)[0] != 0
    assert np.isnan(top_tau(np.array([[2.0, 2.0, NAN]]), np.array([[1.0, 2.0, 3.0]]), 3))
    assert np.isnan(top_overlap(np.array([[NAN, NAN]]), np.array([[1.0, 2.0]]), 2))
    assert top_overlap(np.array([[1.0, NAN]]), np.array([[1.0, 2.0]]), 1)[0] == 1


scores = st.lists(st.tuples(*[st.integers(-4, 4)] * 2), min_size=2, max_size=12)


@settings(deadline=None, max_examples=25)
@given(scores, st.integers(1, 12))
def test_a_naive_loop_says_the_same(rows: list[tuple[int, int]], k: int) -> None:
    t, s = (np.array(column, float) for column in zip(*rows, strict=True))
    first = sorted(range(len(t)), key=lambda i: (-t[i], i))[:k]
    said = [np.sign(s[i] - s[j]) for i in first for j in range(len(t)) if t[i] > t[j]]
    found = top_tau(t[None], s[None], k)[0]
    assert found == pytest.approx(np.mean(said)) if said else np.isnan(found)
    ours = sorted(range(len(s)), key=lambda i: (-s[i], i))[:k]
    share = len(set(first) & set(ours)) / min(k, len(t))
    assert top_overlap(t[None], s[None], k)[0] == pytest.approx(share)


def test_over_all_ranks_it_is_scipys_tau() -> None:
    rng = np.random.default_rng(0)
    t, s = rng.random((2, 5, 30))
    expected = [kendalltau(a, b).statistic for a, b in zip(t, s, strict=True)]
    np.testing.assert_allclose(top_tau(t, s, 30), expected)


def test_as_matrix() -> None:
    rows = Candidates.bare(np.array([0, 2, 2, 3]), np.array([5, 6, 7], np.int32))
    found = as_matrix(rows, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(found, [[1, 2], [NAN, NAN], [3, NAN]])
