from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.pos_fuse import PosFuse

GONE = Missing.NOT_RETRIEVED
# places: a 3, 1, 2 | 1, 2; b 1, -, 2 | 1, -
PAST = candidates_of([{1: (5, 9), 2: (7, GONE), 3: (6, 2)}, {1: (2, 4), 2: (1, GONE)}])
LABELS = np.array([0, 1, 1, 0, 1], np.float32)
# places: a 1, 2, 3, 4; b -, 1, 2, 3
NOW = candidates_of([{1: (9, GONE), 2: (8, 3), 3: (7, 2), 4: (6, 1)}])


def fitted(**settings: float) -> PosFuse:
    method = PosFuse(settings)
    method.fit(PAST, LABELS)
    return method


def test_what_is_learnt() -> None:
    # a: item 2 of items 2 and 1 at place 1, items 3 and 2 at place 2, not item 1 at place 3
    # b: none of items 1 and 1; item 3
    assert fitted().state() == {"tables": {"a": [1 / 2, 1, 0], "b": [0, 1]}}


def test_arithmetic() -> None:
    given = fitted().contributions(NOW, np.array([1.0, 3.0]))
    # the fourth place of a and the third of b were never seen: the least seen
    np.testing.assert_array_equal(given, [[1 / 2, 0], [1, 3 * 0], [0, 3 * 1], [0, 3 * 0]])


def test_an_unseen_place_gets_the_least_of_the_seen() -> None:
    method = PosFuse()
    method.fit(PAST, np.array([1, 1, 1, 0, 1], np.float32))
    # a: 1/2, 1, 1; b: 1/2, 1
    np.testing.assert_array_equal(
        method.contributions(NOW, np.ones(2)), [[1 / 2, 0], [1, 1 / 2], [1, 1], [1 / 2, 1 / 2]]
    )


def test_pseudo_count() -> None:
    # three of five places of a are right: as if each were seen twice more, right 2 * 3/5 times
    assert fitted(pseudo_count=2).state()["tables"]["a"] == pytest.approx(
        [(1 + 6 / 5) / (2 + 2), (2 + 6 / 5) / (2 + 2), (0 + 6 / 5) / (1 + 2)]
    )


def test_estimates_come_near_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([0.6, 0.3, 0.1])
    past = candidates_of([{1: (3,), 2: (2,), 3: (1,)}] * 2_000)
    method = PosFuse()
    method.fit(past, (rng.random((2_000, 3)) < truth).ravel().astype(np.float32))
    np.testing.assert_allclose(method.state()["tables"]["a"], truth, atol=0.04)


def test_promises() -> None:
    assert PosFuse.by_rank
    assert not PosFuse.monotone


@pytest.mark.parametrize("pseudo_count", [-1, float("nan"), float("inf")])
def test_bad_pseudo_count(pseudo_count: float) -> None:
    with pytest.raises(ValidationError):
        PosFuse({"pseudo_count": pseudo_count})
