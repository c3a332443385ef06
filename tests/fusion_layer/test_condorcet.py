from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of, random_candidates

from fusion.candidates import Candidates, Missing
from fusion.methods import condorcet
from fusion.methods.condorcet import Condorcet

GONE = Missing.NOT_RETRIEVED


def test_arithmetic() -> None:
    lists = candidates_of(
        [
            # 1 beats 2 (a, c) and 3 (a, b); 2 beats 3 (a, b)
            {1: (3, 2, 2), 2: (2, 3, 1), 3: (1, 1, 3)},
            {},
            {7: (1, 1, 1)},
        ]
    )
    assert Condorcet().fused(lists, np.ones(3)).tolist() == [2, 1, 0, 0]
    np.testing.assert_allclose(
        Condorcet().contributions(lists, np.ones(3)),
        [
            [1 / 2 + 1 / 2, 1 / 2, 1 / 2],
            [1 / 2, 1 / 2, 0],
            [0, 0, 0],
            [0, 0, 0],
        ],
        atol=1e-15,
    )


def test_a_circle_is_a_tie() -> None:
    circle = candidates_of([{1: (3, 2, 1), 2: (1, 3, 2), 3: (2, 1, 3)}])
    assert Condorcet().fused(circle, np.ones(3)).tolist() == [1, 1, 1]


def test_what_a_model_did_not_score_loses_to_what_it_did_and_ties_with_the_rest() -> None:
    lists = candidates_of([{1: (1,), 2: (GONE,), 3: (5,), 4: (Missing.COLD,)}])
    assert Condorcet().fused(lists, np.ones(1)).tolist() == [2, 1 / 2, 3, 1 / 2]
    assert Condorcet().contributions(lists, np.ones(1)).ravel().tolist() == [2, 1 / 2, 3, 1 / 2]
    lowest = Condorcet({"missing": {"cold": "lowest", "filtered": "lowest"}})
    assert lowest.fused(lists, np.ones(1)).tolist() == [1, 1, 3, 1]
    alone = candidates_of([{1: (5,), 2: (Missing.COLD,)}])  # listed or not is all it says
    assert lowest.fused(alone, np.ones(1)).tolist() == [1, 0]


def test_weights_decide_and_equal_sides_tie() -> None:
    lists = candidates_of([{1: (2, 1, 1), 2: (1, 2, 2)}])
    fused = Condorcet().fused
    assert fused(lists, np.array([3.0, 1.0, 1.0])).tolist() == [1, 0]
    assert fused(lists, np.array([1.0, 1.0, 1.0])).tolist() == [0, 1]
    # 0.1 + 0.2 is not 0.3 in floats
    assert fused(lists, np.array([0.3, 0.1, 0.2])).tolist() == [1 / 2, 1 / 2]
    np.testing.assert_allclose(
        Condorcet().contributions(lists, np.array([0.3, 0.1, 0.2])),
        [[1 / 2, 0, 0], [0, 1 / 6, 1 / 3]],
    )
    assert fused(lists, np.array([0.3001, 0.1, 0.2])).tolist() == [1, 0]
    assert fused(lists, np.array([1.0, 0.0, 0.0])).tolist() == [1, 0]


def test_a_tie_that_nobody_took_sides_in_is_everybodys() -> None:
    lists = candidates_of([{1: (GONE, GONE), 2: (GONE, GONE)}])
    np.testing.assert_allclose(
        Condorcet().contributions(lists, np.array([1.0, 3.0])), [[1 / 8, 3 / 8]] * 2
    )


def by_pairs(candidates: Candidates, weights: list[float]) -> list[float]:
    """The definition, pair by pair."""
    place = np.nan_to_num(candidates.ranks(), nan=1e9)
    out = []
    for i, query in enumerate(candidates.rows):
        wins = 0.0
        for j in np.flatnonzero(candidates.rows == query):
            mine = sum(w for w, p in zip(weights, place.T, strict=True) if p[i] < p[j])
            his = sum(w for w, p in zip(weights, place.T, strict=True) if p[i] > p[j])
            wins += (mine > his) + (mine == his) / 2 * (i != j)
        out.append(wins)
    return out


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.5, 2.0, 1.25], [0.37, 0.91, 1.03]])
@pytest.mark.parametrize("pairs", [1, 50, 2**18])
def test_the_definition_in_blocks_of_any_size(
    weights: list[float], pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condorcet, "PAIRS", pairs)
    lists = random_candidates(np.random.default_rng(3), n_queries=8, longest=20)
    expected = by_pairs(lists, weights)
    assert Condorcet().fused(lists, np.array(weights)).tolist() == expected
    given = Condorcet().contributions(lists, np.array(weights))
    np.testing.assert_allclose(given.sum(axis=1), expected)


def test_a_list_longer_than_a_byte_counts() -> None:
    n = 700
    lists = candidates_of([{i: (i, i) for i in range(n)}])
    assert Condorcet().fused(lists, np.ones(2)).tolist() == list(range(n))
    assert Condorcet().fused(lists, np.array([1.0, 0.317])).tolist() == list(range(n))
