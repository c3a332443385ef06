from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Dataset, Queries
from fusion.candidates import Candidates, Missing
from fusion.errors import ConfigError
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.testing import RetrieverContract, all_items
from retrievers.popularity import Popularity

DAY = 86_400


class TestPopularity(RetrieverContract):
    plugin = Popularity
    needs_history = False

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny


class TestPopularityBySegment(TestPopularity):
    options: ClassVar = {"segment": "categories", "recent": 3}


class TestRecentPopularity(TestPopularity):
    options: ClassVar = {"half_life_days": 0.01}


@pytest.fixture
def events() -> Dataset:
    # a: days 0 and 10; b: day 10; c: nobody
    return Dataset.from_frames(
        pa.table(
            {
                "user_id": ["u", "v", "v"],
                "item_id": ["a", "a", "b"],
                "timestamp": [0, 10 * DAY, 10 * DAY],
            }
        ),
        pa.table({"item_id": ["a", "b", "c"]}),
    )


def shares(model: Popularity, data: Dataset) -> dict[str, float]:
    queries = Queries.from_history(Ragged.empty(1))
    found = model.score(queries, all_items(queries, data.n_items))
    return dict(zip(data.catalog.ids, found.values.tolist(), strict=True))


def test_shares_of_the_events(events):
    model = Popularity()
    model.fit(events, FitContext())
    found = shares(model, events)
    assert found["a"] == pytest.approx(2 / 3)
    assert found["b"] == pytest.approx(1 / 3)


def test_old_events_count_less(events):
    model = Popularity({"half_life_days": 5})
    model.fit(events, FitContext())
    found = shares(model, events)
    old = 0.25  # ten days are two half-lives
    assert found["a"] == pytest.approx((1 + old) / (2 + old))
    assert found["b"] == pytest.approx(1 / (2 + old))


def test_an_item_nobody_met_is_cold(events):
    model = Popularity()
    model.fit(events, FitContext())
    queries = events.queries()
    c = events.catalog.vocabulary.index("c")
    only = Candidates.bare(Ragged.of([[c], [c]]).offsets, Ragged.of([[c], [c]]).values)
    assert (model.score(queries, only).why == Missing.COLD).all()
    assert c not in model.retrieve(queries, 10).items


def test_half_life_without_time_is_said(events, caplog):
    timeless = Dataset.from_frames(
        pa.table({"user_id": ["u", "v", "v"], "item_id": ["a", "a", "b"]})
    )
    model = Popularity({"half_life_days": 5})
    model.fit(timeless, FitContext())
    assert "no effect" in caplog.text
    assert shares(model, timeless)["a"] == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def shelves() -> Dataset:
    # a, b: tea; b, c: milk; d: of no kind; e: tea, and nobody met it. Events: a 3, b 2, c 1, d 2
    met = {"a": "uvw", "b": "uv", "c": "w", "d": "xy"}
    pairs = [(user, item) for item, users in met.items() for user in users]
    return Dataset.from_frames(
        pa.table({"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs]}),
        pa.table(
            {
                "item_id": list("abcde"),
                "kind": [["tea"], ["tea", "milk"], ["milk"], None, ["tea"]],
            }
        ),
    )


def asked_after(model: Popularity, data: Dataset, *history: str) -> dict[str, float]:
    known = [data.catalog.vocabulary.index(item) for item in history]
    queries = Queries.from_history(Ragged.of([known]), exclude_seen=False)
    found = model.score(queries, all_items(queries, data.n_items))
    return dict(zip(data.catalog.ids, found.values.tolist(), strict=True))


def test_popularity_within_the_values_of_the_newest_items(shelves):
    model = Popularity({"segment": "kind", "recent": 2, "overall": 0.2})
    model.fit(shelves, FitContext())
    # events on tea: 3 of a, half of b's 2; on milk: half of b's 2, 1 of c
    tea, milk = {"a": 3 / 4, "b": 1 / 4}, {"b": 1 / 2, "c": 1 / 2}
    overall = {"a": 3 / 8, "b": 2 / 8, "c": 1 / 8, "d": 2 / 8}
    found = asked_after(model, shelves, "d", "a", "b")  # d is too old; 1.5 of tea and 0.5 of milk
    for item, share in overall.items():
        inside = 0.75 * tea.get(item, 0) + 0.25 * milk.get(item, 0)
        assert found[item] == pytest.approx(0.2 * share + 0.8 * inside)
    assert np.isnan(found["e"])


def test_an_item_that_nobody_met_still_says_what_its_reader_likes(shelves):
    model = Popularity({"segment": "kind", "overall": 0})
    model.fit(shelves, FitContext())
    found = asked_after(model, shelves, "e")
    assert found["a"] == pytest.approx(3 / 4)
    assert found["c"] == 0


@pytest.mark.parametrize("history", [(), ("d",)])
def test_without_a_value_popularity_is_that_with_everybody(shelves, history):
    model = Popularity({"segment": "kind"})
    model.fit(shelves, FitContext())
    assert asked_after(model, shelves, *history)["a"] == pytest.approx(3 / 8)


@given(
    st.lists(st.sampled_from("abcde"), max_size=5, unique=True), st.floats(0, 1), st.integers(1, 4)
)
@settings(deadline=None, max_examples=25)
def test_scores_are_shares_whatever_the_history(shelves, history, overall, recent):
    model = Popularity({"segment": "kind", "overall": overall, "recent": recent})
    model.fit(shelves, FitContext())
    found = asked_after(model, shelves, *history)
    assert np.nansum(list(found.values())) == pytest.approx(1, abs=1e-5)


def test_a_field_that_is_not_there(shelves):
    with pytest.raises(ConfigError, match=r"'kinds'.*did you mean 'kind'"):
        Popularity({"segment": "kinds"}).fit(shelves, FitContext())
