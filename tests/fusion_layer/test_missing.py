from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of, pool_of
from pydantic import ValidationError

from fusion.candidates import Missing
from fusion.missing import CensoredPolicy, MissingPolicy, among
from fusion.strategies.merging import MethodSpec
from fusion.strategies.parallel import Parallel

GONE, COLD, LATE, CUT = (
    Missing.NOT_RETRIEVED,
    Missing.COLD,
    Missing.TIMED_OUT,
    Missing.FILTERED,
)
LISTS = candidates_of([{1: (2, 5), 2: (6, COLD), 3: (LATE, 3), 4: (CUT, 1), 5: (GONE, 2)}])


def test_by_default_all_are_asked_and_who_cannot_answer_says_nothing() -> None:
    policy = MissingPolicy()
    assert policy.completes
    assert not policy.learns
    assert set(policy.rules.values()) == {"nan"}
    assert policy.kept(LISTS) is None


def test_what_completion_left_unasked_is_filtered() -> None:
    assert MissingPolicy(filtered="lowest").rules[GONE] == "lowest"
    apart = MissingPolicy(filtered="lowest", not_retrieved="nan")
    assert not apart.completes
    assert (apart.rules[GONE], apart.rules[CUT]) == ("nan", "lowest")


def test_a_rule_for_each_reason() -> None:
    policy = MissingPolicy(
        not_retrieved="lowest", cold="prior", timed_out="exclude", filtered="lowest"
    )
    assert policy.learns
    assert policy.reasons("lowest") == (GONE, CUT)
    assert policy.reasons("prior") == (COLD,)
    assert policy.reasons("nan") == ()
    assert among(np.array([0, *Missing], np.uint8), (GONE, CUT)).tolist() == [
        *(False, False, True, False, False, True)
    ]


def test_a_rule_that_is_not_named_keeps_its_default() -> None:
    named = {"name": "weighted_sum", "missing": {"cold": "exclude"}}
    policy = MethodSpec.model_validate(named).build().missing
    assert isinstance(policy, CensoredPolicy)
    assert policy.reasons("lowest") == (GONE, LATE, CUT)
    assert policy.reasons("exclude") == (COLD,)


def test_exclusion_keeps_the_rows_that_no_model_misses_for_that_reason() -> None:
    late = MissingPolicy(timed_out="exclude").kept(LISTS)
    assert late is not None
    assert late.tolist() == [True, True, False, True, True]
    both = MissingPolicy(timed_out="exclude", cold="exclude").kept(LISTS)
    assert both is not None
    assert both.tolist() == [True, False, False, True, True]


def test_an_excluded_item_is_not_recommended_at_all() -> None:
    method = {"name": "rrf", "missing": {"cold": "exclude"}}
    fused = Parallel({"method": method}).fuse(pool_of(LISTS))
    assert fused.candidates.items.tolist() == [1, 3, 4, 5]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        # min-max: a 0, 1; b 1, 1/2, 0, 1/4
        ("comb_sum", {"nan": 1.0, "lowest": 1.0 + 0.0}),
        ("comb_mnz", {"nan": 1 * 1.0, "lowest": 2 * (1.0 + 0.0)}),
        ("comb_min", {"nan": 1.0, "lowest": 0.0}),
        ("comb_anz", {"nan": 1.0, "lowest": (1.0 + 0.0) / 2}),
        ("rrf", {"nan": 1 / 61, "lowest": 1 / 61 + 1 / 64}),  # b's last is its fourth
    ],
)
def test_each_policy_works_with_each_method(method: str, expected: dict[str, float]) -> None:
    """The second item: a's best, unknown to b."""
    for rule, score in expected.items():
        config = {"method": {"name": method, "missing": {"cold": rule}}}
        assert Parallel(config).fuse(pool_of(LISTS)).scores[1] == pytest.approx(score)


@pytest.mark.parametrize(
    "bad",
    [{"cold": "complete"}, {"cold": "zero"}, {"not_retrieved": "omit"}, {"late": "nan"}],
)
def test_bad_policies(bad: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        MissingPolicy.model_validate(bad)


def test_no_rows() -> None:
    kept = MissingPolicy(cold="exclude").kept(LISTS.where(np.zeros(5, bool)))
    assert kept is not None
    assert kept.shape == (0,)
