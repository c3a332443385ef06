from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.tuning.segments import SegmentsConfig, shrunk


def test_by_the_length_of_the_history() -> None:
    segments = SegmentsConfig(by="history_length", edges=[1, 3, 4])
    lists = [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [5] * 9]
    assert segments.names == ("0", "1-2", "3", "4+")
    found = segments.of(Queries.from_history(Ragged.of(lists)))
    assert found.tolist() == [0, 1, 1, 2, 3, 3]


def test_cold_and_warm() -> None:
    segments = SegmentsConfig(by="cold", below=2)
    assert segments.names == ("cold", "warm")
    found = segments.of(Queries.from_history(Ragged.of([[], [1], [1, 2]])))
    assert found.tolist() == [0, 0, 1]


@pytest.mark.parametrize("edges", [[], [0, 5], [5, 5], [20, 5]])
def test_edges_that_are_none(edges: list[int]) -> None:
    with pytest.raises(ValidationError, match="edges: expected at least one length above 0"):
        SegmentsConfig(by="history_length", edges=edges)


def test_shrunk_by_hand() -> None:
    # (300 * 0.9 + 100 * 0.5) / 400
    assert shrunk((0.9, 0.1), (0.5, 0.5), 300, 100) == pytest.approx((0.8, 0.2))
    assert shrunk((0.9, 0.1), (0.5, 0.5), 300, 0) == pytest.approx((0.9, 0.1))


@settings(deadline=None, max_examples=25)
@given(own=st.floats(0, 1), everybody=st.floats(0, 1), n=st.integers(1, 9999))
def test_shrunk_lies_between(own: float, everybody: float, n: int) -> None:
    first, second = shrunk((own, 1 - own), (everybody, 1 - everybody), n, 200)
    assert min(own, everybody) - 1e-12 <= first <= max(own, everybody) + 1e-12
    assert first + second == pytest.approx(1)
