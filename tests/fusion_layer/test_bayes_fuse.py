from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.bayes_fuse import BayesFuse

GONE, COLD = Missing.NOT_RETRIEVED, Missing.COLD
# one list of four, one of two
PAST = candidates_of([{i: (9 - i,) for i in range(4)}, {1: (2,), 2: (1,)}])
LABELS = np.array([1, 0, 0, 0, 1, 1], np.float32)
FLOOR = np.log(0.001 / 0.999)


def fitted(*ends: int, **settings: float) -> BayesFuse:
    method = BayesFuse({"ends": ends, **settings})
    method.fit(PAST, LABELS)
    return method


def test_what_is_learnt() -> None:
    # place 1: two of two, kept below 1; place 2: one of two; 3 to 4: none; later: never seen
    found = fitted(1, 2, 4, 9).state()["tables"]["a"]
    assert found == pytest.approx([np.log(0.999 / 0.001), np.log(0.5 / 0.5), FLOOR, FLOOR])


def test_arithmetic() -> None:
    # places 1 and 2: three of 2 * 2; 3 to 6: none of 2 * 4
    now = candidates_of([{1: (9,), 2: (8,), 3: (7,), 4: (GONE,), 5: (COLD,)}])
    given = fitted(2, 6).contributions(now, np.array([3.0]))[:, 0]
    np.testing.assert_allclose(given, [3 * w for w in [np.log(3), np.log(3), FLOOR, FLOOR, FLOOR]])


def test_a_segment_never_seen_gets_the_least() -> None:
    method = BayesFuse({"ends": (1, 2, 3, 4)})
    method.fit(candidates_of([{1: (2,), 2: (1,)}] * 4), np.array([1, 0, 1, 0, 1, 0, 0, 1], "f4"))
    least = np.log((1 / 4) / (3 / 4))
    assert method.state()["tables"]["a"] == pytest.approx([np.log(3), least, least, least])


@pytest.mark.parametrize("floor", [1e-9, 0.1])
def test_floor(floor: float) -> None:
    found = fitted(1, 2, 4, floor=floor).state()["tables"]["a"]
    low = np.log(floor / (1 - floor))
    assert found == pytest.approx([-low, 0, low])


def test_no_place_is_worth_less_than_silence() -> None:
    rng = np.random.default_rng(0)
    past = candidates_of([{i: (9 - i,) for i in range(30)}] * 200)
    labels = (rng.random(len(past)) < 0.0003).astype(np.float32)
    assert labels.sum() > 0
    method = BayesFuse()
    method.fit(past, labels)
    now = candidates_of([{i: (9 - i,) for i in range(30)} | {99: (GONE,)}])
    scores = method.fused(now, np.ones(1))
    assert (scores >= scores[-1]).all()


def test_a_prior_takes_the_place_of_the_methods_own_rule() -> None:
    method = BayesFuse({"ends": (1, 2), "missing": {"cold": "prior"}})
    past = candidates_of([{1: (2,), 2: (1,), 3: (COLD,)}] * 4)
    method.fit(past, np.array([0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1], np.float32))
    # place 1: three of four; place 2: one of four; cold: one of four, as often right as place 2
    now = candidates_of([{1: (2,), 2: (1,), 3: (COLD,), 4: (GONE,)}])
    found = method.fused(now, np.ones(1))
    np.testing.assert_allclose(found, [np.log(3), np.log(1 / 3), np.log(1 / 3), FLOOR], atol=1e-15)


def test_promises() -> None:
    assert BayesFuse.by_rank
    assert not BayesFuse.monotone


@pytest.mark.parametrize("settings", [{"floor": 0}, {"floor": 0.5}, {"ends": []}, {"ends": [3, 2]}])
def test_bad_settings(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BayesFuse(settings)
