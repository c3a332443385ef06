from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.serving.costs import PATIENCE, RECENT, Costs


def test_a_retrieval_is_predicted_by_its_slow_calls() -> None:
    costs = Costs()
    for ms in (1.0,) * 18 + (5.0,) * 2:
        costs.add("ease", "retrieve", 200, ms)
    # position 0.95 * 19 = 18.05 of the sorted 20
    assert costs.predict("ease", "retrieve") == 5.0
    assert costs.predict("ease", "retrieve", rows=10**6) == 5.0


def test_a_score_grows_with_its_candidates_from_a_floor() -> None:
    costs = Costs()
    costs.add("bert", "score", 100, 20.0)
    assert costs.predict("bert", "score", 200) == 40.0
    assert costs.predict("bert", "score", 1) == 20.0  # never seen below
    costs.add("bert", "score", 200, 40.0)
    assert costs.predict("bert", "score") == pytest.approx((0.9 * 100 + 0.1 * 200) * 0.2)


def test_what_was_never_measured_costs_nothing() -> None:
    costs = Costs()
    assert costs.predict("ease", "score") == 0
    assert not costs.known("ease", "score")
    assert costs.of_model("ease") == 0


def test_old_calls_are_forgotten() -> None:
    costs = Costs()
    costs.add("ease", "retrieve", 1, 1000.0)
    for _ in range(RECENT):
        costs.add("ease", "retrieve", 1, 1.0)
    assert costs.predict("ease", "retrieve") == 1.0


def test_json_gives_equal_predictions() -> None:
    costs = Costs()
    for n in range(5):
        costs.add("ease", "retrieve", 200, 1.0 + n)
        costs.add("bert", "score", 100 + n, 20.0 + n)
    again = Costs.from_json(json.loads(json.dumps(costs.to_json())))
    assert again.of_model("ease") == costs.of_model("ease")
    assert again.predict("bert", "score", 50) == costs.predict("bert", "score", 50)


def test_the_dearest_call_is_forgotten_when_nobody_asks_any_more() -> None:
    costs = Costs()
    costs.add("ease", "retrieve", 1, 1.0)
    costs.add("ease", "retrieve", 1, 900.0)
    for _ in range(PATIENCE - 1):
        costs.relax("ease")
    assert costs.predict("ease", "retrieve") > 800
    costs.relax("ease")
    assert costs.predict("ease", "retrieve") == 1.0
    for _ in range(5 * PATIENCE):
        costs.relax("ease")
    assert costs.predict("ease", "retrieve") == 1.0  # the last one stays


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=RECENT))
def test_the_percentile_is_numpys(values: list[float]) -> None:
    costs = Costs()
    for ms in values:
        costs.add("ease", "retrieve", 1, ms)
    assert costs.predict("ease", "retrieve") == pytest.approx(np.percentile(values, 95))
