import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Dataset, Queries
from fusion.candidates import Missing
from fusion.errors import DataError
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.testing import RetrieverContract, all_items
from retrievers.relations import Relations


class TestRelations(RetrieverContract):
    """By the categories, the only relation that the tiny data has."""

    plugin = Relations

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny


class TestRelationsListed(RetrieverContract):
    """By lists of ids and by values together."""

    plugin = Relations
    options = {"listed": {"also_buy": 1.0}, "same": {"categories": 0.5}}  # noqa: RUF012

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls):
        from tiny_data import tiny_frames

        interactions, items = tiny_frames()
        bought = [[f"i{(3 * at + 1) % 30}", f"i{(7 * at + 2) % 30}"] for at in range(30)]
        return Dataset.from_frames(interactions, items.append_column("also_buy", pa.array(bought)))


def shop(**columns) -> Dataset:
    """Items a, b, c, d, of which only a and b were met."""
    items = pa.table({"item_id": list("abcd"), **columns})
    return Dataset.from_frames(pa.table({"user_id": ["u", "u"], "item_id": ["a", "b"]}), items)


def scores_after(data: Dataset, history: str, **options) -> dict[str, float]:
    model = Relations(options)
    model.fit(data, FitContext())
    items = [data.catalog.vocabulary.index(name) for name in history]
    queries = Queries.from_history(Ragged.of([items]), exclude_seen=False)
    found = model.score(queries, all_items(queries, data.n_items)).values
    return dict(zip(data.catalog.ids, found.tolist(), strict=True))


ALSO = {"also_buy": [["b", "c", "gone"], ["d"], [], None]}


def test_a_list_shares_its_weight_among_the_items_that_are_there():
    found = scores_after(shop(**ALSO), "a", listed={"also_buy": 3.0}, backward=0)
    assert found == {"a": 0.0, "b": pytest.approx(3 / 2), "c": pytest.approx(3 / 2), "d": 0.0}


def test_the_other_way_round():
    found = scores_after(shop(**ALSO), "b", listed={"also_buy": 1.0}, backward=0.5)
    # b lists d (1); a lists b (0.5); together 1.5
    assert found["d"] == pytest.approx(1 / 1.5)
    assert found["a"] == pytest.approx(0.5 / 1.5)


def test_two_items_that_list_each_other_count_once():
    data = shop(also_buy=[["b"], ["a", "c"], [], []])
    found = scores_after(data, "b", backward=1.0)
    assert found["a"] == pytest.approx(1 / 2)
    assert found["c"] == pytest.approx(1 / 2)


def test_a_value_goes_to_each_other_item_that_has_it():
    data = shop(tags=[["x", "y"], ["x"], ["x", "y"], ["z"]])
    found = scores_after(data, "a", same={"tags": 2.0})
    # a has two values, 1/2 each; x has two other items, y has one
    assert found["b"] == pytest.approx(2 * (1 / 2 * 1 / 2))
    assert found["c"] == pytest.approx(2 * (1 / 2 * 1 / 2 + 1 / 2 * 1))
    assert found["a"] == 0.0
    assert np.isnan(found["d"])  # nobody shares z


def test_the_history_decays_and_ends():
    data = shop(**ALSO)
    found = scores_after(data, "ab", backward=0, decay=0.5)
    assert found["d"] == pytest.approx(1)  # from b, the newest
    assert found["c"] == pytest.approx(0.5 / 2)  # from a, one step older
    assert scores_after(data, "ab", backward=0, newest=1)["c"] == 0.0


def test_items_that_nobody_met_are_found():
    data = shop(series=["s", None, "s", None])
    model = Relations()
    model.fit(data, FitContext())
    a, c = data.catalog.vocabulary.indices(["a", "c"])
    found = model.retrieve(Queries.from_history(Ragged.of([[a]])), 5)
    assert found.items.tolist() == [c]
    assert data.popularity[c] == 0
    cold = model.score(found_by := Queries.from_history(Ragged.of([[a]])), all_items(found_by, 4))
    assert (cold.why == Missing.COLD).sum() == 2  # b and d have no series


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("vwxyz"), max_size=4, unique=True), min_size=2, max_size=6),
    st.data(),
)
def test_values_walk_as_a_plain_loop_does(tags, draw):
    n = len(tags)
    sizes = {v: sum(v in own for own in tags) for v in "vwxyz"}
    if max(sizes.values()) < 2:
        return
    names = [f"i{at}" for at in range(n)]
    met = pa.table({"user_id": ["u"] * n, "item_id": names})
    data = Dataset.from_frames(met, pa.table({"item_id": names, "tags": pa.array(tags)}))
    start = draw.draw(st.integers(0, n - 1))
    model = Relations({"same": {"tags": 1.0}})
    model.fit(data, FitContext())
    query = Queries.from_history(
        Ragged.of([[data.catalog.vocabulary.index(names[start])]]), exclude_seen=False
    )
    found = model.score(query, all_items(query, n)).values
    for at in range(n):
        shared = set(tags[start]) & set(tags[at])
        expected = sum(1 / len(tags[start]) / (sizes[v] - 1) for v in shared if at != start)
        score = found[data.catalog.vocabulary.index(names[at])]
        assert np.nan_to_num(score) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (ALSO, {"listed": {"also_bought": 1.0}}, "did you mean 'also_buy'"),
        (ALSO, {"same": {"brand": 1.0}}, "also_buy.*'brand'"),
        ({"x": [["q"], ["r"], [], []]}, {"listed": {"x": 1.0}}, "not one.*`same`"),
        ({"x": ["1", "2", "3", "4"]}, {"same": {"x": 1.0}}, "a value that two items share"),
        ({"x": ["1", "2", "3", "4"]}, {}, "the fields x; name them"),
        ({}, {}, r"the fields \(none\)"),
    ],
)
def test_what_relates_nothing_is_an_error(columns, options, message):
    with pytest.raises(DataError, match=message):
        Relations(options).fit(shop(**columns), FitContext())


def test_known_fields_that_relate_nothing_are_passed_over():
    data = shop(brand=["p", "q", None, None], also_buy=[["b"], [], [], []])
    assert scores_after(data, "a", backward=0)["b"] == pytest.approx(1)
