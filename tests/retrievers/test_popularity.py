from typing import ClassVar

import pyarrow as pa
import pytest

from fusion import Dataset, Queries
from fusion.candidates import Candidates, Missing
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
