from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import candidates_of, random_candidates

from fusion.candidates import Candidates, Missing
from fusion.errors import DataError, NotFittedError
from fusion.methods.bayes_fuse import BayesFuse
from fusion.methods.map_fuse import MAPFuse
from fusion.methods.pos_fuse import PosFuse
from fusion.methods.positions import (
    Lists,
    PlaceMethod,
    by_segment,
    least_for_unseen,
    lengths_of,
    look_up,
    precision,
    rising,
)
from fusion.methods.prob_fuse import ProbFuse
from fusion.methods.seg_fuse import SegFuse
from fusion.methods.slide_fuse import SlideFuse
from fusion.normalizations.segments import ranks

NAN = float("nan")
GONE, COLD = Missing.NOT_RETRIEVED, Missing.COLD
METHODS: list[type[PlaceMethod]] = [PosFuse, ProbFuse, SegFuse, SlideFuse, MAPFuse, BayesFuse]
# places: a 3, 1, 2 | 1, 2 | -; b 1, -, 2 | -, - | 1
PAST = candidates_of(
    [{1: (5, 9), 2: (7, GONE), 3: (6, 2)}, {1: (2, COLD), 2: (1, COLD)}, {4: (GONE, 3)}]
)
LABELS = np.array([0, 1, 1, 0, 1, 1], np.float32)
PRIORS = {"missing": {"cold": "prior", "filtered": "prior"}}
each = pytest.mark.parametrize("kind", METHODS)


def lists_of(model: int) -> Lists:
    return Lists.of(ranks(PAST)[:, model], LABELS > 0, PAST)


def labelled(seed: int, **more: Any) -> tuple[Candidates, Any]:
    rng = np.random.default_rng(seed)
    candidates = random_candidates(rng, **more)
    return candidates, (rng.random(len(candidates)) < 0.1).astype(np.float32)


def test_lists() -> None:
    a, b = lists_of(0), lists_of(1)
    assert a.query.tolist() == [0, 0, 0, 1, 1]
    assert a.place.tolist() == [3, 1, 2, 1, 2]
    assert a.length.tolist() == [3, 3, 3, 2, 2]
    assert a.hit.tolist() == [False, True, True, False, True]
    assert a.relevant.tolist() == [2, 2, 2, 1, 1]
    assert (len(a), len(b)) == (2, 2)
    assert b.relevant.tolist() == [2, 2, 1]  # one of the first query's two is not in b's list


def test_at_places() -> None:
    seen, hits = lists_of(0).at_places()
    assert seen.tolist() == [2, 2, 1]
    assert hits.tolist() == [1, 2, 0]


def test_no_lists() -> None:
    empty = Lists.of(np.full(6, NAN, np.float32), LABELS > 0, PAST)
    assert len(empty) == 0
    assert [part.tolist() for part in empty.at_places()] == [[], []]
    np.testing.assert_array_equal(precision(empty, (1, 2)), [NAN, NAN])


def test_precision_counts_what_a_list_does_not_reach_as_misses() -> None:
    # two lists; place 1: one hit of 2; places 2 to 4: two hits of 2 * 3; the fifth: never reached
    np.testing.assert_array_equal(precision(lists_of(0), (1, 4, 6)), [1 / 2, 2 / 6, NAN])


def test_look_up() -> None:
    curve, place = np.array([9.0, 8.0]), np.array([2, NAN, 1], np.float32)
    np.testing.assert_array_equal(look_up(curve, place), [8, NAN, 9])
    assert look_up(np.empty(0), np.empty(0, np.float32)).shape == (0,)


def test_lengths_of() -> None:
    assert lengths_of(ranks(PAST)[:, 0], PAST).tolist() == [3, 3, 3, 2, 2, 0]
    full = candidates_of([{1: (1,), 2: (2,)}, {}, {3: (1,)}])
    assert lengths_of(ranks(full)[:, 0], full).tolist() == [2, 2, 1]


def test_by_segment() -> None:
    values = np.array([0.5, 0.1, 0.3])
    assert by_segment(values, (1, 3, 4), 6).tolist() == [0.5, 0.1, 0.1, 0.3, 0.1, 0.1]
    assert by_segment(values, (1, 3, 4), 0).tolist() == []


def test_least_for_unseen() -> None:
    assert least_for_unseen(np.array([0.5, NAN, 0.2])).tolist() == [0.5, 0.2, 0.2]
    assert least_for_unseen(np.array([NAN, NAN])).tolist() == [0, 0]


@pytest.mark.parametrize("ends", [(), (0, 5), (5, 5), (5, 3), (-1,)])
def test_ends_that_do_not_rise(ends: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        rising(ends)
    assert rising((1, 4)) == (1, 4)


@each
def test_unfitted_and_unknown_models(kind: type[PlaceMethod]) -> None:
    method = kind()
    assert method.learns
    assert "tables" not in method.state()
    with pytest.raises(NotFittedError, match="scores of 'a', got an unfitted one; call fit"):
        method.fused(PAST, np.ones(2))
    method.fit(PAST.only(("b",)), LABELS)
    with pytest.raises(NotFittedError, match="scores of 'a', got one fitted on b"):
        method.fused(PAST, np.ones(2))


@each
def test_another_number_of_labels(kind: type[PlaceMethod]) -> None:
    with pytest.raises(DataError, match="6 labels, one a candidate, got 5"):
        kind().fit(PAST, LABELS[:5])


@each
@pytest.mark.parametrize("config", [{}, PRIORS])
def test_the_state_is_json_and_all_there_is(kind: type[PlaceMethod], config: Any) -> None:
    now, _ = labelled(1)
    method, again = kind(config), kind(config)
    method.fit(*labelled(0))
    again.restore(json.loads(json.dumps(method.state(), allow_nan=False)))
    np.testing.assert_array_equal(again.fused(now, np.ones(3)), method.fused(now, np.ones(3)))
    assert again.state() == method.state()
    assert ("priors" in method.state()) == bool(config)


@each
def test_models_are_known_by_name(kind: type[PlaceMethod]) -> None:
    method, other = kind(), kind()
    past, labels = labelled(0)
    method.fit(past, labels)
    other.fit(past.only(("c", "a", "b")), labels)
    assert method.state()["tables"] == other.state()["tables"]
    now, weights = labelled(1)[0], np.array([1.0, 2.0, 3.0])
    given = method.contributions(now, weights)
    turned = method.contributions(now.only(("c", "a")), weights[[2, 0]])
    np.testing.assert_array_equal(turned, given[:, [2, 0]])


@each
def test_a_second_fit_forgets_the_first(kind: type[PlaceMethod]) -> None:
    method, fresh = kind(), kind()
    method.fit(*labelled(0, models=("a", "b", "z")))
    method.fit(*labelled(2))
    fresh.fit(*labelled(2))
    assert method.state() == fresh.state()


@each
def test_a_model_that_was_silent_in_training_prefers_nobody(kind: type[PlaceMethod]) -> None:
    past = candidates_of([{1: (5, COLD), 2: (7, COLD)}])
    method = kind()
    method.fit(past, np.array([0, 1], np.float32))
    now = candidates_of([{1: (3, 3), 2: (3, 3), 3: (3, 3)}])
    given = method.contributions(now, np.ones(2))
    assert np.isfinite(given).all()
    assert len(set(given[:, 1].tolist())) == 1


@each
def test_nothing_to_learn_from(kind: type[PlaceMethod]) -> None:
    method = kind()
    method.fit(PAST.where(np.zeros(6, bool)), LABELS[:0])
    assert np.isfinite(method.fused(PAST, np.ones(2))).all()


@each
@pytest.mark.parametrize("relevant", [0, 1])
def test_all_or_nothing_is_relevant(kind: type[PlaceMethod], relevant: int) -> None:
    method = kind()
    method.fit(PAST, np.full(6, relevant, np.float32))
    json.dumps(method.state(), allow_nan=False)
    assert np.isfinite(method.fused(PAST, np.ones(2))).all()


@each
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), deeper=st.integers(0, 3))
def test_deeper_lists_than_seen_stay_in_bounds(
    kind: type[PlaceMethod], seed: int, deeper: int
) -> None:
    """No place is worth more than the best that was learnt, nor less than the least."""
    past, labels = labelled(seed, longest=6, missing=0.2)
    method = kind()
    method.fit(past, labels)
    now, _ = labelled(seed + 1, longest=7 + 30 * deeper, n_items=200)
    worth = method.worth(now)
    assert (np.isnan(worth) == np.isnan(now.scores.T)).all()
    for model, column in zip(now.models, worth, strict=True):
        table = np.array(method.state()["tables"][model] or [0.0])
        most = 2 if kind is SegFuse else 1  # times 1 + a score from 0 to 1
        assert (
            np.nanmax(column, initial=-np.inf)
            <= table.max() * (most if table.max() > 0 else 1) + 1e-12
        )
        if kind in (PosFuse, SlideFuse, BayesFuse):
            assert np.nanmin(column, initial=np.inf) >= table.min() - 1e-12
