from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of

from fusion.candidates import Missing
from fusion.methods.map_fuse import MAPFuse

GONE, COLD = Missing.NOT_RETRIEVED, Missing.COLD
# relevant: items 1, 3 and 5 | 2 | none
PAST = candidates_of(
    [
        {1: (2, GONE), 2: (4, 1), 3: (3, GONE), 4: (1, 2), 5: (GONE, 3)},
        {1: (2, COLD), 2: (1, COLD)},
        {1: (1, COLD)},
    ]
)
LABELS = np.array([1, 0, 1, 0, 1, 0, 1, 0], np.float32)


def fitted() -> MAPFuse:
    method = MAPFuse()
    method.fit(PAST, LABELS)
    return method


def test_what_is_learnt() -> None:
    # a: hits at places 2 and 3 of three relevant ones; at place 2; none
    # b: a hit at place 1; cold in the others, which do not count
    a = ((1 / 2 + 2 / 3) / 3 + 1 / 2 + 0) / 3
    b = (1 / 1) / 3
    tables = fitted().state()["tables"]
    assert tables["a"] == pytest.approx([a])
    assert tables["b"] == pytest.approx([b])


def test_arithmetic() -> None:
    method = MAPFuse()
    method.restore({"tables": {"a": [0.5], "b": [0.25]}})
    now = candidates_of([{1: (5, GONE), 2: (7, 1)}, {3: (1, 1)}])
    np.testing.assert_array_equal(
        method.contributions(now, np.array([1.0, 3.0])),
        [[0.5 / 2, 0], [0.5, 3 * 0.25], [0.5, 3 * 0.25]],
    )


def test_the_order_of_rows_does_not_matter() -> None:
    shuffled = PAST.take(np.array([2, 1, 0]))
    method = MAPFuse()
    method.fit(shuffled, LABELS[[7, 5, 6, 0, 1, 2, 3, 4]])
    tables, expected = method.state()["tables"], fitted().state()["tables"]
    for model in "ab":
        assert tables[model] == pytest.approx(expected[model])


def test_promises() -> None:
    assert MAPFuse.by_rank
    assert MAPFuse.monotone
