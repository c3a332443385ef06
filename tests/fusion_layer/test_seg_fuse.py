from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.seg_fuse import SegFuse

GONE = Missing.NOT_RETRIEVED
# one list of four, one of two
PAST = candidates_of([{i: (9 - i,) for i in range(4)}, {1: (2,), 2: (1,)}])
LABELS = np.array([1, 0, 1, 1, 0, 1], np.float32)


def fitted(*ends: int, normalization: str = "min_max") -> SegFuse:
    method = SegFuse({"ends": ends, "normalization": normalization})
    method.fit(PAST, LABELS)
    return method


def test_the_default_ends() -> None:
    assert SegFuse().config.ends == (5, 15, 35, 75, 155, 315, 635, 1275, 2555, 5115)


def test_what_is_learnt() -> None:
    # place 1: one of two lists; places 2 to 4: three hits in 2 * 3; deeper: never seen
    assert fitted(1, 4, 9).state() == {
        "tables": {"a": [1 / 2, 3 / 6, 3 / 6]},
        "normalization": {},
    }


def test_arithmetic() -> None:
    # place 1: one of two; 2: the other of two; 3 to 6: two of 2 * 4; later: the least, 1/4
    now = candidates_of([{i: (8 - i,) for i in range(8)} | {9: (GONE,)}])
    p = [1 / 2, 1 / 2, *[1 / 4] * 6]
    expected = [3 * p[i] * (1 + (7 - i) / 7) for i in range(8)]
    given = fitted(1, 2, 6).contributions(now, np.array([3.0]))[:, 0]
    np.testing.assert_allclose(given, [*expected, 0])


def test_another_normalization() -> None:
    now = candidates_of([{1: (4,), 2: (3,)}])
    # rank: 1 and 1/2
    given = fitted(2, normalization="rank").worth(now)[0]
    np.testing.assert_allclose(given, [2 / 4 * (1 + 1), 2 / 4 * (1 + 1 / 2)])


def test_promises() -> None:
    assert not SegFuse.by_rank
    assert not SegFuse.monotone


def test_ends_that_do_not_rise() -> None:
    with pytest.raises(ValidationError, match="must rise"):
        SegFuse({"ends": [5, 5]})
