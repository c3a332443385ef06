"""The collaborative retrievers on real data, by the protocol: full ranking, seen items left out.

Floors are a little under what was measured once (EASE .061/.118, transitions .068/.136 NDCG@10 and
HR@10 on ml-latest-small, leave-last-out), so that a lost decay or a wrong order of events shows.
"""

import numpy as np
import pytest

from fusion.data.movielens import load_movielens
from fusion.data.splits import leave_last_out
from fusion.protocols import FitContext
from fusion.ragged import segment_rank
from fusion.registry import resolve

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def split(shared_data):
    return leave_last_out(
        load_movielens("latest-small", shared_data / "ml-latest-small", progress=False)
    )


@pytest.mark.parametrize(
    ("name", "options", "ndcg", "hit_rate"),
    [
        ("popularity", {}, 0.015, 0.035),
        ("als", {}, 0.037, 0.080),
        ("item_knn", {}, 0.045, 0.090),
        ("ease", {}, 0.058, 0.110),
        ("item_transition", {}, 0.062, 0.125),
    ],
)
def test_ndcg_and_hit_rate_at_10(split, name, options, ndcg, hit_rate):
    model = resolve("retrievers", name)(options)
    model.fit(split.train, FitContext())
    found = model.retrieve(split.queries, 10)
    _, rank = segment_rank(found.offsets, (found.items, -found.scores[:, 0]))
    hit = found.items == split.targets.values[found.rows]  # one target a query
    assert len(split.targets.values) == len(split) == 610
    assert (1 / np.log2(rank[hit] + 1)).sum() / len(split) >= ndcg
    assert hit.sum() / len(split) >= hit_rate
