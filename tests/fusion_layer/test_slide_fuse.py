from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import candidates_of, random_candidates
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.methods.pos_fuse import PosFuse
from fusion.methods.slide_fuse import SlideFuse
from fusion.normalizations.segments import ranks

GONE = Missing.NOT_RETRIEVED
# a's hits by place: 1 of 2, 2 of 2, 0 of 2, 0 of 2
PAST = candidates_of([{i: (9 - i,) for i in range(4)}] * 2)
LABELS = np.array([1, 1, 0, 0, 0, 1, 0, 0], np.float32)


def fitted(window: int) -> SlideFuse:
    method = SlideFuse({"window": window})
    method.fit(PAST, LABELS)
    return method


def test_arithmetic() -> None:
    now = candidates_of(
        [{i: (9 - i,) for i in range(4)}, {7: (1,), 8: (2,), 9: (GONE,)}, {5: (0,)}]
    )
    worth = fitted(1).contributions(now, np.array([2.0]))[:, 0]
    p = [1 / 2, 1, 0, 0]
    full = [(p[0] + p[1]) / 2, sum(p[:3]) / 3, sum(p[1:4]) / 3, (p[2] + p[3]) / 2]
    # the second query's list has two places, the third's one: the window ends there
    two = [(p[0] + p[1]) / 2] * 2
    np.testing.assert_allclose(worth, [2 * w for w in [*full, *two, 0, p[0]]])


def test_the_tables_are_those_of_pos_fuse() -> None:
    assert fitted(3).state() == {"tables": {"a": [1 / 2, 1, 0, 0]}}


def test_a_window_deeper_than_any_place_seen() -> None:
    now = candidates_of([{i: (9 - i,) for i in range(9)}])
    method = SlideFuse({"window": 1})
    method.fit(PAST, np.array([1, 1, 1, 0, 1, 1, 1, 1], np.float32))  # 1, 1, 1, 1/2; then 1/2
    worth = method.worth(now)[0]
    np.testing.assert_allclose(worth, [1, 1, 2.5 / 3, 2 / 3, *[1 / 2] * 5])


def test_a_window_wider_than_the_list() -> None:
    now = candidates_of([{i: (9 - i,) for i in range(4)}])
    np.testing.assert_allclose(fitted(1_000).worth(now)[0], [1.5 / 4] * 4)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), window=st.integers(0, 7))
def test_the_mean_over_a_window(seed: int, window: int) -> None:
    """Row by row, as the paper writes it."""
    rng = np.random.default_rng(seed)
    past, now = random_candidates(rng, longest=9), random_candidates(rng, longest=14)
    method = SlideFuse({"window": window})
    method.fit(past, (rng.random(len(past)) < 0.3).astype(np.float32))
    places = ranks(now)
    for m, model in enumerate(now.models):
        table = method.state()["tables"][model] or [0.0]
        padded = np.array(table + [min(table)] * 40)
        for row, found in enumerate(method.worth(now)[m]):
            if np.isnan(place := places[row, m]):
                assert np.isnan(found)
                continue
            query = now.rows == now.rows[row]
            last = int((~np.isnan(places[query, m])).sum()) - 1
            a, b = max(int(place) - 1 - window, 0), min(int(place) - 1 + window, last)
            assert found == pytest.approx(padded[a : b + 1].mean(), rel=1e-12, abs=1e-15)


def test_a_window_of_0_is_pos_fuse() -> None:
    rng = np.random.default_rng(0)
    past, now = random_candidates(rng), random_candidates(rng, longest=40)
    labels = (rng.random(len(past)) < 0.2).astype(np.float32)
    slide, pos = SlideFuse({"window": 0, "pseudo_count": 1}), PosFuse({"pseudo_count": 1})
    slide.fit(past, labels)
    pos.fit(past, labels)
    np.testing.assert_array_equal(slide.worth(now), pos.worth(now))


def test_promises() -> None:
    assert SlideFuse.by_rank
    assert not SlideFuse.monotone


@pytest.mark.parametrize("window", [-1, 1.5, 1_001])
def test_bad_window(window: float) -> None:
    with pytest.raises(ValidationError):
        SlideFuse({"window": window})
