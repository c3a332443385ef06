from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fusion.data.dataset import Dataset
from fusion.errors import ConfigError, DataError
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.tuning.segments import NO_DOMAIN, SegmentsConfig, shrunk


def test_by_the_length_of_the_history() -> None:
    segments = SegmentsConfig(by="history_length", edges=[1, 3, 4]).bind(None, "test")
    lists = [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [5] * 9]
    assert segments.names == ("0", "1-2", "3", "4+")
    found = segments.of(Queries.from_history(Ragged.of(lists)))
    assert found.tolist() == [0, 1, 1, 2, 3, 3]


def test_cold_and_warm() -> None:
    segments = SegmentsConfig(by="cold", below=2).bind(None, "test")
    assert segments.names == ("cold", "warm")
    found = segments.of(Queries.from_history(Ragged.of([[], [1], [1, 2]])))
    assert found.tolist() == [0, 0, 1]


GENRES = pa.table(
    {
        "item_id": ["0", "1", "2", "3"],
        "title": ["a", "b", "c", "d"],
        "categories": [["war", "comedy"], ["war"], ["comedy"], None],
    }
)
MET = pa.table({"user_id": ["u"] * 4, "item_id": ["0", "1", "2", "3"]})
CATALOG = Dataset.from_frames(MET, GENRES).catalog


def asked(lists: list[str]) -> Queries:
    """One query a text; each character is an item's id."""
    return Queries.from_history(Ragged.of([CATALOG.vocabulary.indices(list(ids)) for ids in lists]))


def test_by_the_commonest_value_of_the_history() -> None:
    segments = SegmentsConfig(by="domain").bind(CATALOG, "test")
    assert segments.names == ("comedy", "war", NO_DOMAIN)
    lists = ["", "3", "1", "01", "0122", "0", "32"]
    queries = asked(lists)
    # 0 and 1: war twice; 0, 1, 2, 2: comedy three times; 0 alone: both once, the first by name
    assert segments.of(queries).tolist() == [2, 2, 1, 1, 0, 0, 0]
    for q in range(len(lists)):
        assert segments.of(queries.take(np.array([q])))[0] == segments.of(queries)[q]


def test_domains_are_kept_with_what_was_learnt(tmp_path: Path) -> None:
    config = SegmentsConfig(by="domain")
    segments = config.bind(CATALOG, "test")
    segments.save(tmp_path)
    again = config.load(tmp_path)
    queries = asked(["1", "2", "3"])
    assert again.names == segments.names
    assert again.of(queries).tolist() == segments.of(queries).tolist() == [1, 0, 2]


def test_domains_need_the_items_and_a_field_that_they_have() -> None:
    with pytest.raises(DataError, match="the items, for segments by domain"):
        SegmentsConfig(by="domain").bind(None, "test")
    with pytest.raises(ConfigError, match="did you mean 'categories'"):
        SegmentsConfig(by="domain", field="categorys").bind(CATALOG, "test")


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
