import numpy as np
import polars as pl
import pytest

from fusion import Dataset
from fusion.errors import DataError


@pytest.fixture
def data() -> Dataset:
    """a: x(1) y(2) z(3); b: z(5)."""
    frame = pl.DataFrame(
        {
            "user_id": ["a", "b", "a", "a"],
            "item_id": ["y", "z", "x", "z"],
            "timestamp": [2, 5, 1, 3],
            "rating": [4.0, 2.0, 5.0, 3.0],
        }
    )
    return Dataset.from_frames(frame)


def names(data: Dataset, indices: np.ndarray) -> list[str]:
    return [data.catalog.ids[i] for i in indices]


def test_histories_are_oldest_first(data: Dataset) -> None:
    assert data.offsets.tolist() == [0, 3, 4]
    assert names(data, data.histories[0]) == ["x", "y", "z"]
    assert names(data, data.histories[1]) == ["z"]
    popularity = dict(zip(data.catalog.ids, data.popularity.tolist(), strict=True))
    assert popularity == {"x": 1, "y": 1, "z": 2}


def test_dtypes(data: Dataset) -> None:
    events = data.interactions
    assert [c.dtype for c in (events.users, events.items, events.times, events.ratings)] == [
        np.int32, np.int32, np.float64, np.float32,
    ]  # fmt: skip


def test_queries_hold_the_whole_history_and_the_newest_time(data: Dataset) -> None:
    queries = data.queries()
    assert names(data, queries.history[0]) == ["x", "y", "z"]
    assert queries.now.tolist() == [3.0, 5.0]
    assert names(data, queries.excluded[0]) == ["x", "y", "z"]
    assert len(data.queries(exclude_seen=False).excluded[0]) == 0


def test_queries_before_an_event_know_its_time_but_not_the_event(data: Dataset) -> None:
    queries = data.queries_before(np.array([0, 1]), np.array([2, 3]))
    assert names(data, queries.history[0]) == ["x", "y"]
    assert queries.now.tolist() == [3.0, 5.0]
    assert len(queries.history[1]) == 0


def test_a_subset_keeps_indices_and_allows_users_without_events(data: Dataset) -> None:
    part = data.where(data.interactions.times < 3)
    assert (part.n_users, part.n_items, len(part)) == (2, 3, 2)
    assert len(part.histories[1]) == 0
    assert np.isnan(part.queries().now[1])


def test_no_events(data: Dataset) -> None:
    empty = data.where(np.zeros(4, bool))
    assert not empty.has_time
    with pytest.raises(DataError, match="EASE: expected at least one interaction"):
        empty.require_events("EASE")


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": ["A", "b", "a", "a"]},
        {"item_id": ["y", "z", "w", "z"]},
        {"timestamp": [2, 5, 1, 4]},
        {"rating": [4.0, 2.0, 5.0, 3.5]},
    ],
)
def test_the_fingerprint_knows_every_column(
    data: Dataset, changed: dict[str, list[object]]
) -> None:
    rows = {
        "user_id": ["a", "b", "a", "a"],
        "item_id": ["y", "z", "x", "z"],
        "timestamp": [2, 5, 1, 3],
        "rating": [4.0, 2.0, 5.0, 3.0],
    }
    assert Dataset.from_frames(pl.DataFrame(rows)).fingerprint == data.fingerprint
    assert Dataset.from_frames(pl.DataFrame({**rows, **changed})).fingerprint != data.fingerprint


def test_the_fingerprint_knows_the_texts() -> None:
    def of(ids: list[str], titles: list[str]) -> str:
        items = pl.DataFrame({"item_id": ids, "title": titles})
        return Dataset.from_frames(
            pl.DataFrame({"user_id": ["u"], "item_id": [ids[0]]}), items
        ).fingerprint

    assert of(["i"], ["One"]) != of(["i"], ["Two"])


def test_the_fingerprint_knows_where_an_id_ends() -> None:
    def of(*users: str) -> str:
        return Dataset.from_frames(
            pl.DataFrame({"user_id": users, "item_id": ["i", "i"]})
        ).fingerprint

    assert of("a\x1fb", "c") != of("a", "b\x1fc")


def test_minus_zero_is_zero() -> None:
    def of(zero: float) -> str:
        frame = {"user_id": ["u"], "item_id": ["i"], "timestamp": [zero], "rating": [zero]}
        return Dataset.from_frames(pl.DataFrame(frame)).fingerprint

    assert of(-0.0) == of(0.0)


def test_repr_says_the_size(data: Dataset) -> None:
    assert repr(data).startswith("Dataset(2 users, 3 items, 4 interactions, ")
