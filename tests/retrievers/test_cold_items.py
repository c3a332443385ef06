"""Collaborative models know nothing of an item without an event, and say so."""

import numpy as np
import pytest

from fusion.candidates import Missing
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.registry import resolve
from fusion.testing import all_items

COLD = [3, 17]  # held out of training


@pytest.fixture(scope="module")
def train(tiny):
    return tiny.where(~np.isin(tiny.interactions.items, COLD))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("als", {"factors": 4}),
        ("ease", {}),
        ("item_knn", {}),
        ("item_transition", {}),
        ("popularity", {}),
        ("popularity", {"half_life_days": 1}),
        ("popularity", {"segment": "categories"}),
    ],
)
def test_an_item_that_training_never_saw_is_cold(train, tmp_path, name, options):
    made = resolve("retrievers", name)(options)
    made.fit(train, FitContext())
    made.save(tmp_path)
    loaded = resolve("retrievers", name)(options)
    loaded.load(tmp_path, train)
    users = train.queries(exclude_seen=False)
    # one who has met the cold item too, and one who has met nothing else
    odd = Queries.from_history(Ragged.of([[3, 5], [17]]), exclude_seen=False)
    for model in (made, loaded):
        for queries in (users, odd):
            found = model.score(queries, all_items(queries, train.n_items))
            values, why = (part.reshape(len(queries), -1) for part in (found.values, found.why))
            assert np.isnan(values[:, COLD]).all()
            assert (why[:, COLD] == Missing.COLD).all()
            listed = model.retrieve(queries, train.n_items)
            assert not np.isin(listed.items, COLD).any()
            assert not (listed.scores == 0).any()
        assert (why[0] == Missing.PRESENT).any()  # what else is in the history still speaks
        if name != "popularity":
            assert (why[1] == Missing.COLD).all()
