"""What every normalisation promises, on random lists: all that are registered, by their names."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import random_candidates, window_of

from fusion.candidates import Candidates
from fusion.protocols import Normalization
from fusion.registry import known, resolve

NAMES = tuple(known("normalizations"))
MODELS = ("a", "b", "c")
WINDOW = window_of(noise={"a": 0.5, "b": 1.0, "c": 1.5}, n_queries=40, width=20)
#: the least and the most that they give
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(NAMES, (0, 1)),
    "max": (-1, 1),
    "l2": (-1, 1),
    "log_softmax": (-np.inf, 0),
    "none": (-np.inf, np.inf),
    "z_score": (-np.inf, np.inf),
}
#: a shift and a stretch of a model's scores in one query change nothing
AFFINE = ("min_max", "inverted_min_max", "sum", "z_score", "rank", "borda", "quantile")
AFFINE += ("isotonic", "platt", "beta")  # by their default scale
STRETCHED = (*AFFINE, "max", "l2")
#: any rescaling that keeps the order changes nothing
BY_RANK = ("rank", "borda", "quantile")
every = pytest.mark.parametrize("name", NAMES)
seeds = st.integers(0, 2**32 - 1)
examples = settings(deadline=None, max_examples=10)


@cache
def normalization(name: str) -> Normalization:
    made = resolve("normalizations", name)(name=name)
    assert isinstance(made, Normalization)
    if made.learns:
        columns = WINDOW.pool.candidates()
        made.fit(columns, WINDOW.labels(columns))
    return made


def lists(seed: int) -> Candidates:
    rng = np.random.default_rng(seed)
    return random_candidates(
        rng,
        n_queries=6,
        n_items=20,
        longest=15,
        levels=int(rng.integers(0, 5)),
        missing=rng.choice([0, 0.3, 0.8]),
    )


def test_all_are_here() -> None:
    assert {"none", "min_max", "isotonic", "quantile"} <= set(NAMES)


@every
@examples
@given(seed=seeds)
def test_what_comes_out(name: str, seed: int) -> None:
    candidates = lists(seed)
    before = candidates.scores.copy()
    found = normalization(name).normalize(candidates)
    assert found.shape == candidates.scores.shape
    assert found.dtype == np.float64
    assert found.T.flags.c_contiguous  # one model's column is one run of memory
    np.testing.assert_array_equal(np.isnan(found), np.isnan(candidates.scores))
    assert not np.isinf(found).any()
    low, high = RANGES[name]
    present = found[~np.isnan(found)]
    assert (present >= low - 1e-12).all()
    assert (present <= high + 1e-12).all()
    np.testing.assert_array_equal(candidates.scores, before)


@every
@examples
@given(seed=seeds)
def test_the_order_inside_a_query_is_kept(name: str, seed: int) -> None:
    candidates = lists(seed)
    found = normalization(name).normalize(candidates)
    if name == "inverted_min_max":
        found = -found
    for q in range(candidates.n_queries):
        mine = slice(int(candidates.offsets[q]), int(candidates.offsets[q + 1]))
        for scores, given_ in zip(candidates.scores[mine].T, found[mine].T, strict=True):
            ordered = given_[np.argsort(scores)]
            rises = np.diff(ordered[~np.isnan(ordered)])
            if name in ("rank", "borda"):  # equal scores are ordered by item index
                rises = rises[np.diff(np.sort(scores[~np.isnan(scores)])) > 0]
            assert (rises >= -1e-12).all()


@every
@examples
@given(seed=seeds)
def test_the_order_of_candidates_and_of_models_changes_nothing(name: str, seed: int) -> None:
    candidates = lists(seed)
    rng = np.random.default_rng(seed + 1)
    pairs = zip(candidates.offsets, candidates.lengths, strict=False)
    parts = [start + rng.permutation(n) for start, n in pairs]
    shuffle = np.concatenate([np.empty(0, np.int64), *parts])
    models = rng.permutation(3)
    shuffled = replace(
        candidates,
        items=candidates.items[shuffle],
        scores=candidates.scores[shuffle],
        why=candidates.why[shuffle],
    ).only([candidates.models[m] for m in models])
    expected = normalization(name).normalize(candidates)[shuffle][:, models]
    np.testing.assert_allclose(
        normalization(name).normalize(shuffled), expected, rtol=1e-9, atol=1e-12
    )


@every
@examples
@given(seed=seeds)
def test_batch_equals_single(name: str, seed: int) -> None:
    candidates = lists(seed)
    method = normalization(name)
    alone = [method.normalize(candidates.take(np.array([q]))) for q in range(candidates.n_queries)]
    np.testing.assert_array_equal(method.normalize(candidates), np.concatenate(alone))


@pytest.mark.parametrize("name", STRETCHED)
@examples
@given(seed=seeds)
def test_a_scale_of_the_model_changes_nothing_where_promised(name: str, seed: int) -> None:
    """By powers of two and whole numbers: in float32 without rounding."""
    rng = np.random.default_rng(seed)
    candidates = replace(lists(seed), scores=np.round(lists(seed).scores * 4))
    per_query = (2.0 ** rng.integers(-3, 4, (candidates.n_queries, 3)))[candidates.rows]
    shift = rng.integers(-8, 9, (candidates.n_queries, 3))[candidates.rows]
    moved = candidates.scores + (shift if name in AFFINE else 0)
    moved = replace(candidates, scores=(moved * per_query).astype(np.float32))
    np.testing.assert_allclose(
        normalization(name).normalize(moved),
        normalization(name).normalize(candidates),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", BY_RANK)
@examples
@given(seed=seeds)
def test_a_monotone_rescaling_changes_nothing_where_promised(name: str, seed: int) -> None:
    candidates = lists(seed)
    warped = replace(candidates, scores=np.sinh(candidates.scores * 2 - 3))
    np.testing.assert_array_equal(
        normalization(name).normalize(warped), normalization(name).normalize(candidates)
    )


@pytest.mark.parametrize("name", ["none", "max", "l2", "softmax", "log_softmax"])
def test_the_promises_end_there(name: str) -> None:
    candidates = lists(3)
    moved = replace(candidates, scores=(candidates.scores * 2 + 8).astype(np.float32))
    before, after = (normalization(name).normalize(c) for c in (candidates, moved))
    assert np.nanmax(np.abs(after - before)) > 0.01


@every
def test_constant_scores_one_item_and_nothing(name: str) -> None:
    method = normalization(name)
    for value in (0.0, -3.0, 0.1, 3e38, -3e38, 1e-45):
        for n in (1, 7):
            items = np.arange(n, dtype=np.int32)
            scores = np.full((n, 3), value, np.float32)
            why = np.zeros((n, 3), np.uint8)
            found = method.normalize(Candidates(np.array([0, n]), items, scores, MODELS, why))
            assert np.isfinite(found).all()
            if name not in ("rank", "borda"):
                assert len(set(found[:, 0].tolist())) == 1
    empty = lists(0).where(np.zeros(len(lists(0)), bool))
    assert method.normalize(empty).shape == (0, 3)
    assert method.normalize(empty.take(np.empty(0, np.int64))).shape == (0, 3)


@every
def test_the_whole_range_of_float32(name: str) -> None:
    top = float(np.finfo(np.float32).max)
    scores = np.float32([[-top, 0, 1e-45], [top, 1e-45, 0], [0, -1e-45, top]])
    items, why = np.arange(3, dtype=np.int32), np.zeros((3, 3), np.uint8)
    wide = Candidates(np.array([0, 3]), items, scores, MODELS, why)
    assert np.isfinite(normalization(name).normalize(wide)).all()


@every
def test_the_state_is_json_and_all_there_is(name: str) -> None:
    method = normalization(name)
    again = resolve("normalizations", name)(name=name)
    assert isinstance(again, Normalization)
    again.restore(json.loads(json.dumps(method.state(), allow_nan=False)))
    np.testing.assert_array_equal(again.normalize(lists(2)), method.normalize(lists(2)))
