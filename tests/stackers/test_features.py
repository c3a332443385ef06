from __future__ import annotations

from dataclasses import replace

import numpy as np
from fusion_layer.pools import candidates_of, random_candidates

from fusion.candidates import Candidates, Missing
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.stackers.base import View
from fusion.stackers.features import linear_features, query_ages, tree_features

DAY = 86_400.0
GONE, COLD = Missing.NOT_RETRIEVED, Missing.COLD
LISTS = candidates_of([{1: (2, 10), 2: (6, COLD), 0: (3, 30)}, {}, {2: (5, GONE)}])
QUERIES = replace(
    Queries.from_history(Ragged.of([[5, 6, 7], [5], []])),
    times=np.array([0.0, 1.0, 10.0, 20.0]) * DAY,
    now=np.array([14.0, 20.0, 3.0]) * DAY,
)
SHARE = np.array([0.5, 0.25, 0.0, 0.25])
VIEW = View(LISTS, QUERIES, SHARE, query_ages(QUERIES))


def view_of(lists: Candidates, queries: Queries, share: np.ndarray) -> View:
    return View(lists, queries, share, query_ages(queries))


def test_ages_are_days_and_nan_where_nobody_said_when() -> None:
    # the third has no history; the second was asked "at the time of its newest event"
    np.testing.assert_array_equal(query_ages(QUERIES), [14 - 10, np.nan, np.nan])
    untimed = Queries.from_history(Ragged.of([[1], []]))
    np.testing.assert_array_equal(query_ages(untimed), [np.nan, np.nan])


def test_tree_features() -> None:
    matrix, layout = tree_features(VIEW, raw_scores=True)
    found = {name: matrix[:, f].tolist() for f, name in enumerate(layout.names)}
    none = np.nan
    expected = {
        "a.score": [2, 6, 3, 5],
        "a.min_max": [0, 1, 1 / 4, 1],
        "a.rank": [3, 1, 2, 1],
        "a.missing": [0, 0, 0, 0],
        "b.score": [10, none, 30, none],
        "b.min_max": [0, none, 1, none],
        "b.rank": [2, none, 1, none],
        "b.missing": [0, COLD, 0, GONE],
        "item.popularity": [np.log1p(0.25 * 4), 0, np.log1p(0.5 * 4), 0],
        "query.history": [np.log1p(3)] * 3 + [0],
        "query.age": [np.log1p(4)] * 3 + [none],
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)
    assert layout.parts == ("a",) * 4 + ("b",) * 4 + ("context",) * 3
    assert layout.directions == (1, 1, -1, 0, 1, 1, -1, 0, 0, 0, 0)


def test_without_raw_scores() -> None:
    matrix, layout = tree_features(VIEW)
    assert layout.names[:4] == ("a.min_max", "a.rank", "a.missing", "b.min_max")
    assert layout.directions[:3] == (1, -1, 0)
    assert matrix.shape == (4, 3 + 3 + 3)


def test_linear_features_have_no_gaps() -> None:
    matrix, layout = linear_features(VIEW)
    assert layout.names[2:] == ("b.z_score", "b.log_rank", "item.popularity")
    np.testing.assert_allclose(
        matrix[:, 2:],
        [
            [-1, -np.log(2), np.log1p(1)],
            [0, -np.log(4), 0],  # cold: no opinion; one place behind the three candidates
            [1, -np.log(1), np.log1p(2)],
            [0, -np.log(2), 0],  # nothing in this query to be lower than
        ],
        rtol=1e-6,
    )


def test_a_censored_score_is_the_lowest_in_the_linear_model() -> None:
    lists = candidates_of([{1: (2,), 2: (6,), 3: (GONE,)}])
    view = view_of(lists, QUERIES.take(np.array([0])), SHARE)
    assert linear_features(view)[0][:, 0].tolist() == [-1, 1, -1]


def test_a_query_has_the_same_features_alone_and_in_a_batch() -> None:
    batch = random_candidates(np.random.default_rng(0), n_queries=7, n_items=40)
    queries = Queries.from_history(Ragged.of([[1, 2]] * 7))
    whole = view_of(batch, queries, np.full(40, 1 / 40))
    for q in range(7):
        alone, rows = np.array([q]), batch.rows == q
        one = whole.take(alone)
        for features in (tree_features, linear_features):
            np.testing.assert_array_equal(features(one)[0], features(whole)[0][rows])
