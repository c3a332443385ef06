import numpy as np
import pyarrow as pa
import pytest

from fusion import Dataset
from retrievers.dense_examples import draw_examples


def readable(data, *, but=()):
    out = np.ones(data.n_items, bool)
    out[list(but)] = False
    return out


def draw(data, *, but=(), count=10**6, epochs=1, reads=3, together=1, seed=0):
    return draw_examples(
        data,
        readable(data, but=but),
        count=count,
        epochs=epochs,
        reads=reads,
        together=together,
        rng=np.random.default_rng(seed),
    )


def pairs(examples):
    return sorted(
        (int(user), int(target), tuple(history.tolist()))
        for user, target, history in zip(
            examples.users, examples.targets, examples.histories, strict=True
        )
    )


@pytest.mark.parametrize("together", [1, 3, 100])
def test_every_event_with_text_before_it_is_foretold_from_the_newest(tiny, together):
    silent = {0, 1, 2}
    expected = []
    for user, history in enumerate(tiny.histories):
        read = [int(item) for item in history if item not in silent]
        expected += [
            (user, read[at], tuple(read[max(0, at - 3) : at])) for at in range(1, len(read))
        ]
    assert pairs(draw(tiny, but=silent, together=together)) == sorted(expected)


def test_the_row_of_an_event_is_known(tiny):
    found, events = draw(tiny, together=4), tiny.interactions
    assert events.users[found.rows].tolist() == found.users.tolist()
    assert events.items[found.rows].tolist() == found.targets.tolist()


def test_a_count_cuts_and_epochs_repeat(tiny):
    once = draw(tiny)
    assert len(draw(tiny, count=7)) == 7
    assert len(draw(tiny, epochs=2)) == 2 * len(once)
    assert pairs(draw(tiny, epochs=2)) == sorted(2 * pairs(once))
    assert len(draw(tiny, count=len(once) + 5, epochs=2)) == len(once) + 5
    assert len(draw(tiny, count=0)) == 0


def test_nothing_readable_gives_nothing(tiny):
    assert len(draw(tiny, but=range(tiny.n_items))) == 0


def test_events_of_one_user_stand_side_by_side(tiny):
    apart, near = draw(tiny), draw(tiny, together=100)
    changes = [int((np.diff(part.users) != 0).sum()) for part in (apart, near)]
    assert changes[1] < tiny.n_users * 2 < changes[0]
    assert pairs(apart) == pairs(near)


def test_ties_come_in_another_order_each_time():
    data = Dataset.from_frames(
        pa.table(
            {
                "user_id": ["u"] * 5,
                "item_id": ["first", "a", "b", "c", "last"],
                "timestamp": [0, 10, 10, 10, 20],
            }
        )
    )
    found = {
        tuple(data.catalog.ids[i] for i in [*example.histories[0], *example.targets])
        for seed in range(60)
        for example in [draw(data, reads=10, seed=seed)]
        for example in [example.take(np.flatnonzero(example.targets == item(data, "last")))]
    }
    assert len(found) == 6  # all orders of a, b, c
    assert {order[0] for order in found} == {"first"}
    assert {order[-1] for order in found} == {"last"}


def item(data, name):
    return data.catalog.vocabulary.index(name)
