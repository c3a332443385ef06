from __future__ import annotations

import json

import numpy as np
from fusion_layer.pools import candidates_of

from fusion.candidates import Missing
from fusion.missing import MissingPolicy
from fusion.stackers.base import Fill
from fusion.stackers.filling import fill_from_json, fill_of, fill_to_json, min_max, z_scores

GONE, COLD, LATE = Missing.NOT_RETRIEVED, Missing.COLD, Missing.TIMED_OUT
LISTS = candidates_of([{1: (2,), 2: (6,), 3: (GONE,), 4: (COLD,), 5: (LATE,)}])
NAN = np.nan


def test_by_default_trees_see_gaps_and_linear_models_a_number() -> None:
    np.testing.assert_array_equal(min_max(LISTS, Fill())[:, 0], [0, 1, NAN, NAN, NAN])
    # not retrieved and late: the lowest; cold: the mean
    np.testing.assert_array_equal(z_scores(LISTS, Fill())[:, 0], [-1, 1, -1, 0, -1])


def test_lowest_where_the_policy_says_so() -> None:
    fill = Fill(MissingPolicy(cold="lowest", timed_out="lowest"))
    np.testing.assert_array_equal(min_max(LISTS, fill)[:, 0], [0, 1, NAN, 0, 0])
    np.testing.assert_array_equal(z_scores(LISTS, fill)[:, 0], [-1, 1, -1, -1, -1])


def test_a_prior_is_learnt_on_each_scale_and_survives_json() -> None:
    lists = candidates_of(
        [{1: (0,), 2: (1,), 3: (2,), 4: (COLD,)}, {1: (0,), 2: (1,), 3: (2,), 4: (COLD,)}]
    )
    policy = MissingPolicy(cold="prior")
    # cold items are as often right as those with the highest score: once in two
    labels = np.array([0, 0, 1, 0, 0, 0, 0, 1], np.float32)
    fill = fill_of(policy, lists, labels)
    assert min_max(lists, fill)[3, 0] == 1
    top = z_scores(lists, fill)[2, 0]
    assert z_scores(lists, fill)[3, 0] == top > 1
    again = fill_from_json(policy, json.loads(json.dumps(fill_to_json(fill), allow_nan=False)))
    np.testing.assert_array_equal(z_scores(lists, again), z_scores(lists, fill))
    # and nothing is learnt where nothing needs it
    assert fill_of(MissingPolicy(), lists, labels).priors == {}
