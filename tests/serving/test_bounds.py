from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import CONFIG

from fusion.candidates import Candidates
from fusion.config import EngineConfig
from fusion.protocols import Fused
from fusion.serving.bounds import largest_parts, settled
from fusion.topk import top_of


def complete(fusion: dict[str, Any]) -> dict[str, Any]:
    return EngineConfig.from_mapping({**CONFIG, "fusion": fusion}).fusion


def test_the_bounds_written_out() -> None:
    weights = {"ease": 2.0, "high": 0.0}
    models = ("ease", "low", "high")
    rrf = complete({"method": {"name": "rrf", "k": 9}, "weights": weights})
    assert largest_parts(rrf, models) == {"ease": 2 / 10, "low": 1 / 10, "high": 0}
    total = complete({"method": {"name": "weighted_sum", "weights": weights}})
    assert largest_parts(total, models) == {"ease": 2, "low": 1, "high": 0}


@pytest.mark.parametrize(
    "fusion",
    [
        {"method": "comb_mnz"},
        {"method": {"name": "weighted_sum", "normalization": "z_score"}},
        {"method": {"name": "rrf", "missing": {"timed_out": "exclude"}}},
        {"method": {"name": "rrf", "missing": {"cold": "prior"}}},
        {"method": {"name": "rrf", "missing": {"not_retrieved": "lowest"}}},
        {"mode": "single", "model": "ease"},
    ],
)
def test_other_fusions_have_none(fusion: dict[str, Any]) -> None:
    assert largest_parts(complete(fusion), ("ease", "low", "high")) is None


def fused(scores: list[list[float]]) -> Fused:
    offsets = np.cumsum([0, *map(len, scores)]).astype(np.int64)
    items = np.concatenate([np.arange(len(row)) for row in scores]).astype(np.int32)
    values = np.concatenate([np.array(row, np.float64) for row in scores])
    return Fused.of(Candidates.bare(offsets, items), values, ("m",), values[:, None])


def test_gaps_up_to_the_first_one_left_out_count() -> None:
    assert settled(fused([[3.0, 2.0, 1.0, 0.9]]), 2, 0.5)
    assert not settled(fused([[3.0, 2.0, 1.0, 0.9]]), 3, 0.5)  # the fourth may pass the third
    assert not settled(fused([[3.0, 2.9, 1.0]]), 2, 0.5)
    assert not settled(fused([[3.0, 2.0], [1.0, 1.0]]), 1, 0.5)  # one query is enough
    assert settled(fused([[1.0, 1.0]]), 2, 0.0)  # who adds nothing breaks no tie
    assert settled(fused([[1.0]]), 5, 9.0)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.floats(0, 10), min_size=1, max_size=6), min_size=1, max_size=3),
    st.integers(1, 5),
    st.floats(0.01, 2),
    st.randoms(use_true_random=False),
)
def test_what_is_settled_stays_as_it_is(
    scores: list[list[float]], k: int, swing: float, random: Any
) -> None:
    before = fused(scores)
    if settled(before, k, swing):
        added = [[value + random.uniform(0, swing) for value in row] for row in scores]
        assert top_of(fused(added), k).items.tolist() == top_of(before, k).items.tolist()
