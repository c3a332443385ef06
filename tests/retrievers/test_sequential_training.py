from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fusion import Dataset
from retrievers.sequential_training import hold_out


def people(*lengths: int) -> Dataset:
    rows = [(u, t) for u, n in enumerate(lengths) for t in range(n)]
    return Dataset.from_frames(
        pa.table(
            {
                "user_id": [f"u{u}" for u, _ in rows],
                "item_id": [f"i{t:02}" for _, t in rows],
                "timestamp": [t for _, t in rows],
            }
        )
    )


def test_the_newest_event_of_each_user_drawn():
    data = people(5, 5, 5, 2)
    held = hold_out(data, 2, np.random.default_rng(0))
    assert len(held.targets) == len(held.queries) == 2
    assert [data.catalog.ids[i] for i in held.targets] == ["i04", "i04"]
    assert len(held.train) == len(data) - 2
    assert [len(h) for h in held.queries.history] == [4, 4]
    assert 3 not in held.queries.users  # of two events none can be spared


def test_few_users_give_more_each():
    data = people(40, 12, 4)
    held = hold_out(data, 12, np.random.default_rng(0))
    # at most 12 / 3 = 4 each and a fifth of the history, but at least one
    assert np.bincount(held.queries.users, minlength=3).tolist()[1:] == [2, 1]
    assert len(held.train) == len(data) - 4 - 2 - 1
    first = held.queries.users == 1
    assert [len(h) for h, own in zip(held.queries.history, first, strict=True) if own] == [10, 11]


def test_an_item_left_without_events_is_not_asked_for():
    data = people(40, 12, 4)  # only the first user met i36 to i39
    held = hold_out(data, 12, np.random.default_rng(0))
    assert (held.train.popularity[held.targets] > 0).all()
    assert not (held.queries.users == 0).any()


@pytest.mark.parametrize(("lengths", "count"), [((2, 2), 5), ((9, 9), 0)])
def test_nobody_can_be_held_out(lengths, count):
    assert hold_out(people(*lengths), count, np.random.default_rng(0)) is None
