from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.tuning.simplex import (
    from_unit,
    lattice,
    lattice_size,
    nearest_lattice,
    to_unit,
    towards,
)

weights_of = st.lists(st.floats(0.01, 1), min_size=2, max_size=6).map(
    lambda raw: tuple(value / sum(raw) for value in raw)
)


def test_the_lattice_of_three_models_in_halves() -> None:
    half = 0.5
    assert list(lattice(3, 2)) == [
        (0, 0, 1),
        (0, half, half),
        (0, 1, 0),
        (half, 0, half),
        (half, half, 0),
        (1, 0, 0),
    ]


@pytest.mark.parametrize(("m", "n"), [(1, 4), (2, 10), (5, 4)])
def test_the_lattice_is_whole_and_convex(m: int, n: int) -> None:
    points = np.array(list(lattice(m, n)))
    assert len(points) == len(np.unique(points, axis=0)) == lattice_size(m, n)
    np.testing.assert_allclose(points.sum(axis=1), 1)


def test_towards_keeps_the_others_in_proportion() -> None:
    assert towards((0.2, 0.6, 0.2), 0, 0.6) == pytest.approx((0.6, 0.3, 0.1))
    assert towards((1.0, 0.0, 0.0), 0, 0.5) == (0.5, 0.25, 0.25)


@settings(deadline=None, max_examples=25)
@given(weights=weights_of, m=st.integers(0, 1), share=st.floats(0, 1))
def test_every_line_stays_inside(weights: tuple[float, ...], m: int, share: float) -> None:
    moved = towards(weights, m, share)
    assert sum(moved) == pytest.approx(1)
    assert min(moved) >= 0
    assert moved[m] == share
    # and where it began is on it
    assert towards(moved, m, weights[m]) == pytest.approx(weights) or share == 1


@settings(deadline=None, max_examples=25)
@given(weights=weights_of)
def test_units_go_there_and_back(weights: tuple[float, ...]) -> None:
    assert from_unit(to_unit(weights)) == pytest.approx(weights)


def test_units_of_corners_and_of_nothing() -> None:
    assert from_unit(to_unit((1.0, 0.0))) == pytest.approx((1, 0))
    assert from_unit((1.0, 1.0)) == (0.5, 0.5)


def test_uniform_units_are_a_flat_dirichlet() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([from_unit(row) for row in rng.uniform(size=(4000, 3))])
    flat = rng.dirichlet(np.ones(3), 4000)
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(drawn.std(axis=0), flat.std(axis=0), atol=0.02)


def test_the_next_multiple() -> None:
    assert nearest_lattice(0.34, 10) == 0.3
