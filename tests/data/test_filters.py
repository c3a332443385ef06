from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion import Dataset
from fusion.data.filters import k_core
from fusion.errors import DataError


def frame(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [u for u, _ in pairs],
            "item_id": [i for _, i in pairs],
            "timestamp": list(range(len(pairs))),
        }
    )


#: a, b, c have x and y; d has y and z. Without d (z has one event) y still has three.
CHAIN = [
    ("a", "x"),
    ("a", "y"),
    ("b", "x"),
    ("b", "y"),
    ("c", "x"),
    ("c", "y"),
    ("d", "y"),
    ("d", "z"),
]


def test_iterated_to_the_end() -> None:
    core = k_core(Dataset.from_frames(frame(CHAIN)), 2)
    # z (1 event) falls, then d (1 left) falls
    assert core.users.ids == ("a", "b", "c")
    assert set(core.catalog.ids) == {"x", "y"}
    assert dict(core.report) == {"k_core_users": 1, "k_core_items": 1, "k_core_interactions": 2}


def test_users_and_items_may_have_their_own_number() -> None:
    core = k_core(Dataset.from_frames(frame(CHAIN)), 1, 4)
    assert set(core.catalog.ids) == {"y"}
    assert core.users.ids == ("a", "b", "c", "d")


def test_items_without_events_fall_unless_zero_are_asked() -> None:
    items = pl.DataFrame({"item_id": ["x", "y", "z", "cold"], "title": ["X", "Y", "Z", "Cold"]})
    data = Dataset.from_frames(frame(CHAIN), items)
    assert set(k_core(data, 1, 1).catalog.ids) == {"x", "y", "z"}
    kept = k_core(data, 1, 0)
    assert set(kept.catalog.ids) == {"x", "y", "z", "cold"}
    assert kept.fingerprint == data.fingerprint
    assert kept.report["k_core_items"] == 0


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(DataError, match="none in 8 interactions"):
        k_core(Dataset.from_frames(frame(CHAIN)), 9)
    with pytest.raises(DataError, match="k_user >= 1"):
        k_core(Dataset.from_frames(frame(CHAIN)), 0)


pairs = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("stuvwxyz")), min_size=1, unique=True
)


@given(pairs, st.integers(1, 3), st.integers(1, 3))
def test_equals_the_data_set_of_the_remaining_rows(
    rows: list[tuple[str, str]], k_user: int, k_item: int
) -> None:
    titles = {item: f"title {item}" for item in "stuvwxyz"}

    def build(of: list[tuple[str, str]]) -> Dataset:
        met = sorted({item for _, item in of})
        items = pl.DataFrame({"item_id": met, "title": [titles[i] for i in met]})
        times = {pair: float(n) for n, pair in enumerate(rows)}
        return Dataset.from_frames(
            frame(of).with_columns(timestamp=pl.Series([times[p] for p in of])), items
        )

    left = rows
    while True:  # one row at a time, the slow way
        users, items = Counter(u for u, _ in left), Counter(i for _, i in left)
        fall = next((p for p in left if users[p[0]] < k_user or items[p[1]] < k_item), None)
        if fall is None:
            break
        left = [p for p in left if p != fall]
    if not left:
        with pytest.raises(DataError):
            k_core(build(rows), k_user, k_item)
        return
    core = k_core(build(rows), k_user, k_item)
    assert core.fingerprint == build(left).fingerprint
    assert core.catalog.titles == build(left).catalog.titles
