from hashlib import blake2b

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.data.order import event_order, tie_key


def test_tie_key_is_the_documented_hash() -> None:
    by_hand = blake2b(b"u1\ti1", digest_size=8).digest()
    assert tie_key("u1", "i1") == int.from_bytes(by_hand, "big")


def test_user_then_time_then_hash() -> None:
    users = np.array([1, 0, 0, 0], np.int32)
    times = np.array([5.0, 9.0, 7.0, 9.0])
    items = ["a", "b", "c", "d"]
    order = event_order(users, times, ["y", "x", "x", "x"], items).tolist()
    tied = [1, 3] if tie_key("x", "b") < tie_key("x", "d") else [3, 1]
    assert order == [2, *tied, 0]


def test_no_rows_and_one_row() -> None:
    none = np.empty(0)
    assert event_order(none.astype(np.int32), none, [], []).tolist() == []
    assert event_order(np.zeros(1, np.int32), np.array([np.nan]), ["u"], ["i"]).tolist() == [0]


events = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.sampled_from([1.0, 2.0, -3.5])),
    max_size=40,
    unique_by=lambda event: event[:2],
)


@given(events, st.booleans())
def test_hashing_only_ties_equals_hashing_every_row(
    rows: list[tuple[int, int, float]], timed: bool
) -> None:
    users = np.array([u for u, _, _ in rows], np.int32)
    times = np.array([t if timed else np.nan for _, _, t in rows], np.float64)
    names, items = [f"u{u}" for u, _, _ in rows], [f"i{i}" for _, i, _ in rows]
    everywhere = sorted(
        range(len(rows)),
        key=lambda r: (users[r], times[r] if timed else 0.0, tie_key(names[r], items[r])),
    )
    assert event_order(users, times, names, items).tolist() == everywhere


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(5, dtype=np.int32), 8)
    times = rng.integers(0, 3, 40).astype(float)
    names, items = [f"u{u}" for u in users], [f"i{i % 8}" for i in range(40)]
    want = [(names[r], items[r]) for r in event_order(users, times, names, items)]
    mixed = rng.permutation(40)
    got = event_order(
        users[mixed], times[mixed], [names[r] for r in mixed], [items[r] for r in mixed]
    )
    assert [(names[mixed[r]], items[mixed[r]]) for r in got] == want
