from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Dataset
from rankers.bert_examples import Negatives, next_items, next_ratings, split_events


def dataset(histories: dict[str, str], catalogue: str = "abcdef", silent: str = "") -> Dataset:
    """Users who meet one-letter items in order, rated 1, 2, 3...; ``silent`` items have no text."""
    rows = [(u, i, t) for u, items in histories.items() for t, i in enumerate(items)]
    interactions = pa.table(
        {
            "user_id": [u for u, _, _ in rows],
            "item_id": [i for _, i, _ in rows],
            "timestamp": [t for _, _, t in rows],
            "rating": [1.0 + t for _, _, t in rows],
        }
    )
    titles = [None if i in silent else f"item {i}" for i in catalogue]
    return Dataset.from_frames(
        interactions, pa.table({"item_id": list(catalogue), "title": titles})
    )


def names(data: Dataset, items: np.ndarray) -> str:
    return "".join("-" if i < 0 else data.catalog.ids[i] for i in np.ravel(items))


def known(data: Dataset) -> np.ndarray:
    return np.array([bool(text) for text in data.catalog.texts])


def split(data: Dataset, users: int, *, rated: bool = False):
    rng = np.random.default_rng(0)
    return split_events(data, known(data), validation_users=users, rated=rated, rng=rng)


def test_targets_have_an_event_before_them_and_text() -> None:
    data = dataset({"u": "abc", "v": "d", "w": "efa"}, silent="f")
    events = split(data, 0)
    # u: a b c, v: d, w: e a (f cannot be read)
    assert names(data, events.items) == "abcdea"
    assert names(data, events.items[events.train]) == "bca"
    assert [names(data, events.history(row)) for row in events.train] == ["a", "ab", "e"]
    assert len(events.validation) == 0


def test_validation_is_the_last_training_event_of_at_most_half_the_users() -> None:
    data = dataset({"u": "abc", "v": "d", "w": "efa"})
    events = split(data, 100)
    assert len(events.validation) == 1  # v has one event only, so two users could validate
    row = int(events.validation[0])
    assert names(data, events.items[[row]]) in {"c", "a"}
    assert row not in events.train
    assert row + 1 == len(events.users) or events.users[row + 1] != events.users[row]
    # training must not look at the held-out event, as a rating to predict either
    own = np.flatnonzero(events.users == events.users[row])
    assert events.ends[own].tolist() == [row] * 3
    others = np.flatnonzero(events.users != events.users[row])
    assert all(events.users[events.ends[r] - 1] == events.users[r] for r in others)


def test_only_rated_events_are_targets_of_the_rating_head() -> None:
    data = dataset({"u": "abc"})
    data.interactions.ratings[1] = np.nan
    events = split(data, 0, rated=True)
    assert names(data, events.items[events.train]) == "c"


def test_next_items_labels_the_event_and_its_negatives() -> None:
    data = dataset({"u": "abc"})
    events = split(data, 0)
    c, d = data.catalog.vocabulary.indices(["c", "d"])
    examples = next_items(events, np.array([2]), np.array([[d, -1]], np.int32))
    assert examples.items.tolist() == [[c, d, -1]]
    np.testing.assert_array_equal(examples.labels, [[1.0, 0.0, np.nan]])


def test_next_ratings_run_on_to_the_end() -> None:
    data = dataset({"u": "abcde", "v": "fa"})
    events = split(data, 0)
    examples = next_ratings(events, np.array([1, 3, 6]), np.array([4, 5, 7]), 4)
    assert [names(data, row) for row in examples.items] == ["bcd-", "de--", "a---"]
    nan = np.nan
    np.testing.assert_array_equal(
        examples.labels, [[2, 3, 4, nan], [4, 5, nan, nan], [2, nan, nan, nan]]
    )


@settings(max_examples=25, deadline=None)
@given(
    met=st.lists(st.sets(st.sampled_from("abcdef"), min_size=1), min_size=1, max_size=4),
    popular=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_negatives_were_never_met_and_can_be_read(
    met: list[set[str]], popular: float, seed: int
) -> None:
    data = dataset({f"u{n}": "".join(sorted(own)) for n, own in enumerate(met)}, silent="f")
    drawer = Negatives(data, known(data), popular=popular, power=0.75)
    users = np.arange(len(met), dtype=np.int32)
    drawn = drawer.draw(users, 5, np.random.default_rng(seed))
    for own, row in zip(met, drawn, strict=True):
        filled = row >= 0
        assert not set(names(data, row[filled])) & (own | {"f"})
        assert not (np.diff(filled.astype(int)) > 0).any()  # the filled places come first


def test_a_user_who_met_everything_has_no_negatives() -> None:
    data = dataset({"u": "abcdef", "v": "a"})
    drawer = Negatives(data, known(data), popular=0.5, power=0.75)
    drawn = drawer.draw(np.array([0, 1], np.int32), 4, np.random.default_rng(0))
    assert drawn[0].tolist() == [-1] * 4
    assert (drawn[1] >= 0).all()


def test_popular_negatives_follow_the_power_of_popularity() -> None:
    # a is met by 16 users, b by 1: with power 0.5 they are drawn 4 : 1
    data = dataset({**{f"u{n}": "a" for n in range(16)}, "v": "b", "w": "c"})
    drawer = Negatives(data, known(data), popular=1.0, power=0.5)
    w = data.users.index("w")
    drawn = names(data, drawer.draw(np.array([w], np.int32), 20_000, np.random.default_rng(0)))
    assert set(drawn) == {"a", "b"}
    assert drawn.count("a") / drawn.count("b") == pytest.approx(4.0, rel=0.1)
