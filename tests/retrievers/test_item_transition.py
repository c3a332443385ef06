import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Dataset, Queries
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.testing import RetrieverContract, all_items
from retrievers.item_transition import ItemTransition, transition_counts


class TestItemTransition(RetrieverContract):
    plugin = ItemTransition

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.integers(0, 4), max_size=6, unique=True), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_counts_are_those_of_a_plain_loop(sequences, gap):
    expected = np.zeros((5, 5))
    for sequence in sequences:
        for at, source in enumerate(sequence):
            for steps in range(1, gap + 1):
                if at + steps < len(sequence):
                    expected[source, sequence[at + steps]] += 0.5 ** (steps - 1)
    users = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences]).astype(np.int32)
    columns = np.array([item for s in sequences for item in s], np.int32)
    found = transition_counts(users, columns, 5, gap, 0.5)
    np.testing.assert_allclose(found.toarray(), expected)


@pytest.fixture(scope="module")
def walks() -> Dataset:
    # u: a b c    v: a b d
    return Dataset.from_frames(
        pa.table(
            {
                "user_id": ["u"] * 3 + ["v"] * 3,
                "item_id": ["a", "b", "c", "a", "b", "d"],
                "timestamp": [1, 2, 3, 1, 2, 3],
            }
        )
    )


def scores_after(data: Dataset, history: str, **options) -> dict[str, float]:
    model = ItemTransition(options)
    model.fit(data, FitContext())
    items = [data.catalog.vocabulary.index(name) for name in history]
    queries = Queries.from_history(Ragged.of([items]), exclude_seen=False)
    found = model.score(queries, all_items(queries, data.n_items)).values
    return dict(zip(data.catalog.ids, found.tolist(), strict=True))


def test_plain_directed_counts(walks):
    found = scores_after(
        walks, "ab", decay=0.8, backward=0, source_power=0, target_power=0, shrink=0
    )
    # b is the newest: b->c once; a is one step older: 0.8 * (a->c with gap 2: 0.8)
    assert found["c"] == pytest.approx(1 + 0.8 * 0.8)
    assert found["b"] == pytest.approx(0.8 * 2)  # from a, twice
    assert found["a"] == 0.0  # nobody went back to it


def test_source_and_target_powers_and_shrinking(walks):
    found = scores_after(
        walks, "b", decay=0.5, backward=0, source_power=1, target_power=0.5, shrink=2
    )
    from_b = 1 + 1  # c and d
    to_c = 1 + 0.5  # from b, and from a over two steps
    assert found["c"] == pytest.approx(1 / ((from_b + 2) * (to_c + 2) ** 0.5))


def test_backward_counts_the_other_way_round(walks):
    found = scores_after(
        walks, "b", decay=0.5, backward=0.25, source_power=0, target_power=0, shrink=0
    )
    assert found["a"] == pytest.approx(0.25 * 2)


def test_events_older_than_the_gap_say_nothing(walks):
    plain = {"backward": 0, "source_power": 0, "target_power": 0, "shrink": 0}
    assert scores_after(walks, "ac", gap=1, **plain)["b"] == 0.0
    assert scores_after(walks, "ac", gap=2, **plain)["b"] > 0.0


def test_one_event_in_all_retrieves_nothing():
    data = Dataset.from_frames(pa.table({"user_id": ["u"], "item_id": ["a"]}))
    model = ItemTransition()
    model.fit(data, FitContext())
    assert len(model.retrieve(data.queries(), 5)) == 0
