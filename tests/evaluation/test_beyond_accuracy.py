"""Coverage, novelty, diversity, popularity and inequality, by hand and at the edges."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import DataError
from fusion.evaluation import beyond_accuracy
from fusion.evaluation.beyond_accuracy import (
    average_popularity,
    category_matrix,
    coverage,
    exposure_gini,
    intra_list_diversity,
    novelty,
    popularity_share,
)

TOP = np.array([[0, 1, 2], [0, 3, -1], [-1, -1, -1]], dtype=np.int32)
POPULARITY = np.array([7, 3, 1, 0, 5])


def test_doctests() -> None:
    found = doctest.testmod(beyond_accuracy)
    assert found.attempted >= 5
    assert found.failed == 0


def test_coverage() -> None:
    assert coverage(TOP, 5, k=3) == 4 / 5  # items 0, 1, 2, 3
    assert coverage(TOP, 5, k=1) == 1 / 5
    assert coverage(np.array([[0], [0]]), 1, k=1) == 1.0  # one item
    assert coverage(np.empty((0, 3), np.int32), 5, k=3) == 0.0


def test_novelty() -> None:
    # users 7: bits log2(8 / (count + 1)) = 0, 1, 2, 3 for items 0..3
    values = novelty(TOP, POPULARITY, 7, k=3)
    assert values[:2] == pytest.approx([(0 + 1 + 2) / 3, (0 + 3) / 2])
    assert math.isnan(values[2])


def test_average_popularity_and_its_share() -> None:
    values = average_popularity(TOP, POPULARITY, k=3)
    assert values[:2] == pytest.approx([(7 + 3 + 1) / 3, (7 + 0) / 2])
    assert math.isnan(values[2])
    assert popularity_share(TOP, POPULARITY, k=3)[:2] == pytest.approx([11 / 3 / 16, 7 / 2 / 16])
    assert popularity_share(TOP, np.zeros(5, int), k=3)[0] == 0.0


def test_gini() -> None:
    # exposures 2, 1, 1, 1, 0; sorted 0 1 1 1 2 against -4 -2 0 2 4: (-2 + 0 + 2 + 8) / (5 * 5)
    assert exposure_gini(TOP, 5, k=3) == pytest.approx(8 / 25)
    assert exposure_gini(np.array([[2], [2], [2]]), 5, k=1) == pytest.approx(4 / 5)  # all the same
    assert exposure_gini(np.array([[0]]), 1, k=1) == 0.0  # one item
    assert math.isnan(exposure_gini(np.full((2, 2), -1), 5, k=2))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_gini_is_half_the_relative_mean_difference(shown) -> None:
    x = np.bincount(shown, minlength=10)
    expected = np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())
    assert exposure_gini(np.array(shown)[:, None], 10, k=1) == pytest.approx(expected)


def test_diversity_by_cosine() -> None:
    features = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    # cos(0,1) = 1, cos(0,2) = 0, cos(1,2) = 0; an item without features resembles none
    values = intra_list_diversity(TOP, features, k=3)
    assert values[:2] == pytest.approx([1 - (1 + 0 + 0) / 3, 1.0])
    assert math.isnan(values[2])
    assert math.isnan(intra_list_diversity(TOP, features, k=1)[0])  # one item has no pair
    assert intra_list_diversity(np.array([[0, 1]]), features, k=2)[0] == pytest.approx(0.0)


def test_diversity_by_categories() -> None:
    sets = category_matrix([["war", "space"], ["war"], ["space", "music"], None])
    # |0 and 1| / |0 or 1| = 1/2, 0 with 2: 1/3, 1 with 2: 0/3
    values = intra_list_diversity(TOP, sets, k=3, similarity="jaccard")
    assert values[:2] == pytest.approx([1 - (1 / 2 + 1 / 3 + 0) / 3, 1.0])
    empty = category_matrix([None, None])
    assert empty.shape == (2, 0)
    assert intra_list_diversity(np.array([[0, 1]]), empty, k=2, similarity="jaccard")[0] == 1.0


def test_padding_is_not_the_last_item() -> None:
    padded = np.array([[0, 1, -1]])
    for how in ("cosine", "jaccard"):
        alike = np.ones((3, 2))
        assert intra_list_diversity(padded, alike, k=3, similarity=how)[0] == pytest.approx(0.0)


def test_diversity_does_not_depend_on_batches() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 4))
    top = np.stack([rng.permutation(50)[:5] for _ in range(600)]).astype(np.int32)
    many = intra_list_diversity(top, features, k=5)
    assert many[-1] == pytest.approx(intra_list_diversity(top[-1:], features, k=5)[0])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    pairs = [unit[a] @ unit[b] for n, a in enumerate(top[7]) for b in top[7][n + 1 :]]
    assert many[7] == pytest.approx(1 - np.mean(pairs))


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="item_index below 3"):
        coverage(TOP, 3, k=3)
    with pytest.raises(DataError, match="item_index below 0"):
        exposure_gini(np.empty((0, 1), np.int32), 0, k=1)
    with pytest.raises(DataError, match="'cosine' or 'jaccard'"):
        intra_list_diversity(TOP, np.eye(5), k=3, similarity="dice")
