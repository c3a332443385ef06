import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.ragged import Ragged
from retrievers.dense_batches import Batches, log_inclusion
from retrievers.dense_examples import Examples

USERS = [0, 1, 0, 2, 1]
TARGETS = [4, 5, 6, 4, 7]
HISTORIES = [[1, 2], [3], [2, 4], [8], [3, 5]]
MET = [[1, 2, 4, 6], [3, 5, 7], [8, 4]]


def batches(size=3, **options) -> Batches:
    examples = Examples(
        np.arange(len(USERS)),
        np.array(USERS, np.int32),
        np.array(TARGETS, np.int32),
        Ragged.of(HISTORIES),
    )
    return Batches(
        **{
            "examples": examples,
            "size": size,
            "met": Ragged.of(MET),
            "share_history": True,
            "seed": 0,
            **options,
        }
    )


def test_a_batch_holds_each_item_once_and_says_who_may_lose_to_what():
    [batch] = batches()  # five examples: one batch of three
    assert batch.items.tolist() == [1, 2, 3, 4, 5, 6]
    assert batch.targets.tolist() == [3, 4, 5]
    assert [h.tolist() for h in batch.histories] == HISTORIES[:3]
    assert batch.allowed.astype(int).tolist() == [
        [0, 0, 1, 1, 1, 0],  # user 0 met 1 2 4 6; 4 is the target
        [1, 1, 0, 1, 1, 1],  # user 1 met 3 5; 5 is the target
        [0, 0, 1, 0, 1, 1],  # user 0 again; 6 is the target
    ]
    assert batch.weights.tolist() == [1, 1, 1]


def test_only_targets_are_candidates_where_histories_are_texts_of_their_own():
    assert batches(share_history=False)[0].items.tolist() == [4, 5, 6]


def test_what_does_not_fill_a_batch_is_left_out_unless_there_is_no_other():
    assert [len(part) for part in batches(2)] == [2, 2]
    assert [len(part) for part in batches(9)] == [5]
    with pytest.raises(IndexError):
        batches(2)[2]


def test_weights_are_those_of_the_targets():
    weights = np.arange(10, dtype=np.float32)
    assert batches(weights=weights)[0].weights.tolist() == [4, 5, 6]


def test_hard_negatives_are_the_share_that_was_asked_for():
    hard = Ragged.of([[20, 21], [22, 23], [24], [25], [26]])
    batch = batches(hard=hard, hard_share=0.25)[0]  # 6 of the batch itself: 2 more
    extra = set(batch.items.tolist()) - {1, 2, 3, 4, 5, 6}
    assert len(extra) == 2
    assert extra <= {20, 21, 22, 23, 24}
    assert batch.items[batch.targets].tolist() == TARGETS[:3]
    drawn = {tuple(batches(hard=hard, hard_share=0.25, seed=s)[0].items) for s in range(9)}
    assert len(drawn) > 1


def test_a_hard_negative_that_the_user_met_is_none():
    batch = batches(hard=Ragged.of([[7, 20]] * 5), hard_share=0.5)[0]
    at = batch.items.tolist().index(7)
    assert batch.allowed[:, at].tolist() == [True, False, True]


def test_augmented_histories_are_the_same_whenever_asked():
    def augment(history, rng):
        return rng.permutation(history)[:1]

    some = batches(augment=augment)
    for number in range(len(some)):
        one, other = some[number], some[number]
        assert one.histories.lengths.tolist() == [1, 1, 1]
        assert one.histories.values.tolist() == other.histories.values.tolist()
        assert set(one.histories.values) <= set(one.items)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=6), st.integers(1, 5))
def test_log_inclusion_is_the_chance_to_be_drawn(popularity, draws):
    found = np.exp(log_inclusion(np.array(popularity), draws))
    events = np.maximum(popularity, 1)
    expected = [1 - (1 - e / events.sum()) ** draws for e in events]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_log_inclusion_of_the_only_item_is_certain():
    assert log_inclusion(np.array([7]), 3).tolist() == [0.0]
