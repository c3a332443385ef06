from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.prob_fuse import ProbFuse

GONE = Missing.NOT_RETRIEVED
# lists of five and of two; in two parts: places 1-3 and 4-5, place 1 and place 2
PAST = candidates_of([{i: (9 - i,) for i in range(5)}, {1: (2,), 2: (1,)}])
LABELS = np.array([1, 0, 0, 1, 1, 0, 1], np.float32)


def fitted(n_segments: int) -> ProbFuse:
    method = ProbFuse({"n_segments": n_segments})
    method.fit(PAST, LABELS)
    return method


def test_what_is_learnt() -> None:
    assert fitted(2).state()["tables"]["a"] == pytest.approx([(1 / 3 + 0) / 2, (1 + 1) / 2])


def test_arithmetic() -> None:
    now = candidates_of([{i: (9 - i,) for i in range(4)} | {8: (GONE,)}, {5: (0,)}])
    # of four scores, parts of two
    given = fitted(2).contributions(now, np.array([3.0]))[:, 0]
    np.testing.assert_allclose(given, [3 * w for w in [1 / 6, 1 / 6, 1 / 2, 1 / 2, 0, 1 / 6]])


def test_a_part_that_some_lists_leave_empty_and_one_that_all_do() -> None:
    # in six parts: single places; the third to the fifth of the second list are empty and count as
    # misses; the sixth was never seen and gets the least, 0 / 2 of the third
    table = [(1 + 0) / 2, (0 + 1) / 2, 0 / 2, 1 / 2, 1 / 2, 0]
    assert fitted(6).state()["tables"]["a"] == table
    now = candidates_of([{i: (9 - i,) for i in range(6)}])
    np.testing.assert_allclose(fitted(6).worth(now)[0], [p / (k + 1) for k, p in enumerate(table)])


def test_a_part_never_seen_gets_the_least() -> None:
    method = ProbFuse({"n_segments": 4})
    method.fit(candidates_of([{1: (2,), 2: (1,)}] * 2), np.array([1, 1, 1, 0], np.float32))
    assert method.state()["tables"]["a"] == [1, 1 / 2, 1 / 2, 1 / 2]


def test_one_part_is_one_number() -> None:
    # 3/5 and 1/2 of the lists are right
    assert fitted(1).state()["tables"]["a"] == pytest.approx([(3 / 5 + 1 / 2) / 2])


def test_promises() -> None:
    assert ProbFuse.by_rank
    assert not ProbFuse.monotone


@pytest.mark.parametrize("n_segments", [0, -1, 2.5])
def test_bad_n_segments(n_segments: float) -> None:
    with pytest.raises(ValidationError):
        ProbFuse({"n_segments": n_segments})
