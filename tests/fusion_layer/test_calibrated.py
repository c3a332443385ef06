"""What isotonic, Platt and beta calibration share."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import candidates_of, random_candidates
from pydantic import ValidationError

from fusion.candidates import Candidates, Missing
from fusion.errors import NotFittedError
from fusion.methods.weighted_sum import WeightedSum
from fusion.normalizations.beta import Beta
from fusion.normalizations.calibrated import Calibrated
from fusion.normalizations.isotonic import Isotonic
from fusion.normalizations.platt import Platt

KINDS: list[type[Calibrated]] = [Isotonic, Platt, Beta]
each = pytest.mark.parametrize("kind", KINDS)
scales = pytest.mark.parametrize("scale", ["z_score", "min_max", "quantile", "raw"])
seeds = st.integers(0, 2**32 - 1)
few = settings(deadline=None, max_examples=10)


def taught(seed: int = 0, signal: float = 1.0) -> tuple[Candidates, npt.NDArray[np.float32]]:
    """Lists with one target each; scores of targets are ``signal`` higher."""
    rng = np.random.default_rng(seed)
    lists = random_candidates(rng, n_queries=150, longest=20, missing=0.2)
    labels = np.zeros(len(lists), np.float32)
    starts = lists.offsets[:-1][lists.lengths > 0]
    labels[starts + rng.integers(0, lists.lengths[lists.lengths > 0])] = 1
    scores = lists.scores + np.float32(signal) * labels[:, None]
    return replace(lists, scores=scores.astype(np.float32)), labels


@each
def test_before_fit_and_for_a_model_that_fit_did_not_see(kind: type[Calibrated]) -> None:
    lists, labels = taught()
    method = kind(name="mine")
    assert method.learns
    with pytest.raises(NotFittedError, match="mine: expected to be fitted on model 'a', got noth"):
        method.normalize(lists)
    method.fit(lists.only(["b", "c"]), labels)
    with pytest.raises(NotFittedError, match="model 'a', got b, c; call fit first"):
        method.normalize(lists)


@each
@scales
def test_the_state_is_json_and_all_there_is(kind: type[Calibrated], scale: str) -> None:
    method, again = kind({"scale": scale}), kind({"scale": scale})
    method.fit(*taught())
    again.restore(json.loads(json.dumps(method.state(), allow_nan=False)))
    lists, _ = taught(seed=1)
    np.testing.assert_array_equal(again.normalize(lists), method.normalize(lists))
    turned = lists.only(["c", "a"])  # models are known by name
    np.testing.assert_array_equal(again.normalize(turned), method.normalize(lists)[:, [2, 0]])


@each
@scales
def test_the_order_of_the_window_changes_nothing(kind: type[Calibrated], scale: str) -> None:
    lists, labels = taught()
    rng = np.random.default_rng(2)
    bounds = zip(lists.offsets, lists.lengths, strict=False)
    rows = np.concatenate([start + rng.permutation(n) for start, n in bounds])
    shuffled = replace(
        lists, items=lists.items[rows], scores=lists.scores[rows], why=lists.why[rows]
    )
    method, again = kind({"scale": scale}), kind({"scale": scale})
    method.fit(lists, labels)
    again.fit(shuffled.only(["b", "c", "a"]), labels[rows])
    now, _ = taught(seed=1)
    np.testing.assert_allclose(again.normalize(now), method.normalize(now), atol=1e-6)


@each
@scales
@few
@given(seed=seeds)
def test_probabilities_in_the_order_of_the_scores(
    kind: type[Calibrated], scale: str, seed: int
) -> None:
    method = kind({"scale": scale})
    method.fit(*taught(seed, signal=0.5))
    lists = random_candidates(np.random.default_rng(seed + 1), levels=4)
    found = method.normalize(lists)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(lists.scores))
    assert (found[~np.isnan(found)] >= 0).all()
    assert (found[~np.isnan(found)] <= 1).all()
    for q in range(lists.n_queries):
        mine = slice(int(lists.offsets[q]), int(lists.offsets[q + 1]))
        for m in range(3):
            order = np.argsort(lists.scores[mine, m])
            ordered = found[mine, m][order]
            assert (np.diff(ordered[~np.isnan(ordered)]) >= -1e-12).all()


@each
def test_they_mean_what_they_say(kind: type[Calibrated]) -> None:
    """Of what is given about 0.3, about 0.3 are targets: on rows that did not teach."""
    method = kind({"scale": "raw"})
    method.fit(*taught(signal=3.0))
    lists, labels = taught(seed=1, signal=3.0)
    found = method.normalize(lists).ravel()
    hits = np.repeat(labels, 3)
    for low, high in [(0, 0.02), (0.02, 0.2), (0.2, 0.7), (0.7, 1)]:
        inside = (found >= low) & (found < high)
        assert inside.sum() > 20
        assert abs(found[inside].mean() - hits[inside].mean()) < 0.1
    brier = np.nanmean((found - hits) ** 2)
    assert brier < 0.6 * np.mean((hits.mean() - hits) ** 2)


@each
def test_a_model_that_is_wrong_gets_no_curve_downwards(kind: type[Calibrated]) -> None:
    lists, labels = taught(signal=-3.0)
    method = kind()
    method.fit(lists, labels)
    found = method.normalize(lists)
    found = found[~np.isnan(found)]
    assert np.ptp(found) < 0.02  # the same of everything
    np.testing.assert_allclose(found, labels.mean(), atol=0.02)


@each
def test_a_refitted_model_on_another_scale_reads_the_same_unless_raw(
    kind: type[Calibrated],
) -> None:
    lists, labels = taught()
    grown = replace(lists, scores=lists.scores * np.float32(8) + np.float32(16))
    default, raw = kind(), kind({"scale": "raw"})
    for method in (default, raw):
        method.fit(lists, labels)
    np.testing.assert_allclose(default.normalize(grown), default.normalize(lists), atol=1e-5)
    assert np.nanmax(np.abs(raw.normalize(grown) - raw.normalize(lists))) > 0.1


@each
def test_a_model_without_scores_says_the_overall_share(kind: type[Calibrated]) -> None:
    silent = candidates_of([{1: (Missing.COLD, 1), 2: (Missing.COLD, 2), 3: (Missing.COLD, 0)}])
    method = kind()
    method.fit(silent, np.array([0, 1, 0], np.float32))
    assert method.state()["models"]["a"] == {"share": [1 / 3]}
    now = candidates_of([{1: (5, 1), 2: (Missing.COLD, 2)}])
    np.testing.assert_array_equal(method.normalize(now)[:, 0], [1 / 3, np.nan])


@each
@scales
@pytest.mark.parametrize("label", [0, 1])
def test_nothing_and_everything_is_a_target(kind: type[Calibrated], scale: str, label: int) -> None:
    lists, labels = taught()
    method = kind({"scale": scale})
    method.fit(lists, np.full_like(labels, label))
    found = method.normalize(lists)
    np.testing.assert_allclose(found[~np.isnan(found)], label, atol=0.01)
    method.fit(lists.where(np.zeros(len(lists), bool)), labels[:0])  # no rows at all
    assert np.nanmax(method.normalize(lists)) == 0


@each
def test_scores_of_any_size(kind: type[Calibrated]) -> None:
    top = float(np.finfo(np.float32).max)
    lists = candidates_of([{1: (-top, 1e-45), 2: (top, 0), 3: (0, 0)}, {4: (3, 3)}])
    method = kind({"scale": "raw"})
    method.fit(lists, np.array([0, 1, 0, 1], np.float32))
    assert np.isfinite(method.normalize(lists)).all()


@each
def test_equal_scores_in_the_window(kind: type[Calibrated]) -> None:
    lists = candidates_of([dict.fromkeys(range(4), (0.1,)), {7: (5,)}])
    method = kind({"scale": "raw"})
    method.fit(lists.take(np.array([0])), np.array([0, 1, 0, 0], np.float32))
    found = method.normalize(lists).ravel()
    assert len(set(found[:4].tolist())) == 1
    assert 0.1 < found[0] < 0.5
    assert np.isfinite(found).all()


def test_in_a_method() -> None:
    lists, labels = taught()
    method = WeightedSum({"normalization": {"name": "platt", "scale": "min_max"}})
    assert method.learns
    method.fit(lists, labels)
    again = WeightedSum({"normalization": {"name": "platt", "scale": "min_max"}})
    again.restore(json.loads(json.dumps(method.state(), allow_nan=False)))
    ones = np.ones(3)
    np.testing.assert_array_equal(again.fused(lists, ones), method.fused(lists, ones))


@each
def test_an_unknown_scale(kind: type[Calibrated]) -> None:
    with pytest.raises(ValidationError, match="scale"):
        kind({"scale": "softmax"})
