"""The laws of the algebra, on the expressions and on what the fusions give."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pools import candidates_of, pool_of, random_candidates

from fusion import algebra
from fusion.algebra import Cut, Expression, Model, model
from fusion.config_components import filled_component, make
from fusion.errors import ConfigError
from fusion.protocols import Fused, Strategy
from fusion.strategies.nesting import float32_in_order

A, B, C, D = map(model, "abcd")
MODELS = "abcd"
# a busy machine is no reason to fail
SOME = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


def built(config: dict[str, Any]) -> Strategy:
    strategy = make("fusion", "fusion", filled_component("fusion", config))
    assert isinstance(strategy, Strategy)
    strategy.uses(tuple(MODELS))
    return strategy


def fused(what: Expression | dict[str, Any], seed: int = 0, missing: float = 0.0) -> Fused:
    """What it says of ten random queries, the same for one ``seed``."""
    candidates = random_candidates(
        np.random.default_rng(seed), 10, models=MODELS, longest=15, missing=missing, levels=9
    )
    config = what if isinstance(what, dict) else what.to_config()
    return built(config).fuse(pool_of(candidates))


def lists(what: Expression | dict[str, Any], seed: int = 0, missing: float = 0.0) -> list[Any]:
    """The items of each query, best first."""
    return ordered(fused(what, seed, missing))


def ordered(one: Fused) -> list[list[int]]:
    out = []
    offsets = one.candidates.offsets
    for start, stop in pairwise(offsets):
        items, scores = one.candidates.items[start:stop], one.scores[start:stop]
        out.append(items[np.lexsort((items, -scores))].tolist())
    return out


seeds = st.integers(0, 10_000)
gaps = st.sampled_from([0.0, 0.3])
weights = st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0])  # products of them are exact
cutoffs = st.integers(1, 12)


def _wider(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    def united(x: Expression, y: Expression) -> Expression:
        try:
            return x | y
        except ConfigError:  # an operand twice
            return x + y

    def cascade(x: Expression, k: int, y: Expression) -> Expression:
        try:
            return x % k >> y
        except ConfigError:  # a cutoff that rises
            return x % k

    return st.one_of(
        st.builds(united, inner, inner),
        st.builds(lambda x, y: x + y, inner, inner),
        st.builds(lambda w, x: w * x, weights, inner),
        st.builds(lambda x, k: x % k, inner, cutoffs),
        st.builds(cascade, inner, cutoffs, inner),
    )


leaves = st.sampled_from([A, B, C, D])
expressions = st.recursive(leaves, _wider, max_leaves=5)


# Expressions


@SOME
@given(expressions)
def test_the_repr_is_the_expression(x: Expression) -> None:
    assert eval(repr(x), {"model": model}) == x
    assert eval(str(x), dict(zip(MODELS, (A, B, C, D), strict=True))) == x


@SOME
@given(expressions)
def test_every_expression_is_a_fusion(x: Expression) -> None:
    one = fused(x, missing=0.3)
    one.candidates.checked()
    assert not np.isnan(one.scores).any()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (A | B % 9 >> C, A | ((B % 9) >> C)),
        (A | B + C, A | (B + C)),
        (A % 9 >> B + C, (A % 9) >> (B + C)),
        (A + B * 2 % 5, A + ((B * 2) % 5)),
        (2 * A % 5, (2 * A) % 5),
        (A % 5 * 2, (A % 5) * 2),
        (A % 9 >> B % 5 >> C, ((A % 9) >> (B % 5)) >> C),
        (A + B | C + D, (A + B) | (C + D)),
    ],
)
def test_precedence_is_pythons(written: Expression, meant: Expression) -> None:
    assert written == meant
    assert written.to_config() == meant.to_config()


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ((A | B) % 10 >> C, "(a | b) % 10 >> c"),
        (A | B % 9 >> C, "a | b % 9 >> c"),
        (2 * (A | B) + 0.5 * C, "2 * (a | b) + 0.5 * c"),
        ((A + B) % 3 * 2, "2 * ((a + b) % 3)"),
        ((A % 3 >> B) % 5 >> C, "(a % 3 >> b) % 5 >> c"),
        ((A | 2 * B).by("rrf", k=10), "(a | 2 * b).by('rrf', k=10)"),
        ((A | B + C).learned(stacker="linear"), "(a | b + c).learned(stacker='linear')"),
        ((A + B).learned(), "(a + b).learned()"),
        (A.learned() | B, "a.learned() | b"),
    ],
)
def test_text_has_the_parentheses_that_it_needs(expression: Expression, text: str) -> None:
    assert str(expression) == text
    assert eval(text, {"a": A, "b": B, "c": C}) == expression


def test_expressions_are_immutable_and_hashable() -> None:
    with pytest.raises(AttributeError):
        A.name = "z"  # type: ignore[attr-defined]
    assert {A | B: 1}[B | A] == 1
    assert len({A, model("a"), 1 * A, A % 3, A % 4}) == 3
    assert A != "a"
    assert (A % 9 >> B) != (B % 9 >> A)
    assert A + B != A | B


@SOME
@given(expressions, expressions, expressions, weights, weights)
def test_sums_and_factors(x: Expression, y: Expression, z: Expression, v: float, w: float) -> None:
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert w * (x + y) == w * x + w * y
    assert v * (w * x) == (v * w) * x
    assert (v + w) * x == v * x + w * x
    assert 1 * x == x
    assert w * x == x * w
    assert sum([x, y, z]) == x + y + z


@SOME
@given(expressions, expressions, expressions, weights)
def test_unions(x: Expression, y: Expression, z: Expression, w: float) -> None:
    def either(build: Callable[[], Expression]) -> Expression | None:
        try:
            return build()
        except ConfigError:  # an operand twice, wherever the brackets stand
            return None

    assert either(lambda: x | y) == either(lambda: y | x)
    assert either(lambda: (x | y) | z) == either(lambda: x | (y | z))
    assert either(lambda: w * (A | B) | C % 2) == (w * A | w * B | C % 2)
    assert (A | B).by("rrf") == A | B


@SOME
@given(expressions, expressions, expressions, cutoffs, cutoffs)
def test_cutoffs_and_cascades(x: Expression, y: Expression, z: Expression, i: int, j: int) -> None:
    assert (x % i) % j == x % min(i, j)
    assert x.top(i) == x % i

    def either(build: Callable[[], Expression]) -> Expression | None:
        try:
            return build()
        except ConfigError:  # a cutoff that rises, wherever the brackets stand
            return None

    low, high = sorted((i, j))
    left, right = (
        either(lambda: (x % high >> y % low) >> z),
        either(lambda: x % high >> (y % low >> z)),
    )
    if left is not None and right is not None:
        assert left == right
        assert left.to_config() == right.to_config()
    cut = either(lambda: x % high >> y)
    if cut is not None:
        assert either(lambda: x % high >> y % low) in (None, cut % low)  # None: x keeps fewer
        assert A % high >> B % low == (A % high >> B) % low


# Configurations


def test_the_smallest_mappings() -> None:
    assert A.to_config() == {"mode": "single", "model": "a"}
    assert (A % 5).to_config() == {"mode": "single", "model": "a", "keep": 5}
    assert (A | 2 * B).to_config() == {
        "mode": "parallel",
        "models": ["a", "b"],
        "weights": {"b": 2},
    }
    assert (A + 0.5 * B).to_config() == {
        "mode": "parallel",
        "models": ["a", "b"],
        "method": "weighted_sum",
        "weights": {"b": 0.5},
    }
    assert (A | B).by("rrf", k=10).to_config()["method"] == {"name": "rrf", "k": 10}
    assert ((A | B) % 9 >> A + C % 3).to_config() == {
        "mode": "serial",
        "stages": [
            {"models": ["a", "b"], "keep": 9},
            {
                "fusion": {
                    "mode": "parallel",
                    "models": ["a", "c_top_3"],
                    "fusions": {"c_top_3": {"mode": "single", "model": "c", "keep": 3}},
                    "method": "weighted_sum",
                }
            },
        ],
    }
    assert ((A + B) % 9 | C).learned(stacker="linear").to_config() == {
        "mode": "learned",
        "models": ["a_plus_b_top_9", "c"],
        "fusions": {
            "a_plus_b_top_9": {
                "mode": "parallel",
                "models": ["a", "b"],
                "method": "weighted_sum",
                "keep": 9,
            }
        },
        "stacker": "linear",
    }


def test_names_of_sub_fusions() -> None:
    def names(x: Expression) -> list[str]:
        return list(x.to_config()["fusions"])

    assert names((A + B) | C) == ["a_plus_b"]
    assert names((A | B) + (A % 9 >> B)) == ["a_or_b", "a_then_b"]
    assert names((A | B).by("borda") | A.learned()) == ["borda_a_b", "learned_a"]
    assert names((A + B) | model("a_plus_b")) == ["a_plus_b_2"]
    assert names((A + B) | (A + 2 * B)) == ["a_plus_b", "a_plus_b_2"]
    long = [model(f"a_rather_long_name_{i}") for i in range(3)]
    assert names(sum(long) | A) == ["sum_of_3"]
    assert names(sum(long) % 7 | A) == ["sum_of_3_top_7"]
    assert names(sum(long) % 10**30 | A) == [f"top_1{30 * '0'}"]
    assert names((long[0] | long[1]).by("fusion.methods.rrf:RRF") | A)[0].startswith("fusion_")


# What the fusions give


@SOME
@given(seeds, gaps)
def test_order_and_brackets_of_unions_and_sums_change_no_score(seed: int, missing: float) -> None:
    def same(x: Expression, y: Expression) -> None:
        np.testing.assert_array_equal(
            fused(x, seed, missing).scores, fused(y, seed, missing).scores
        )

    same(A | B | C, C | (B | A))
    same(A + B + C, C + (B + A))
    same((A | B) + C, C + (B | A))
    same(2 * (A + B), 2 * A + 2 * B)
    same(A + A + B, 2 * A + B)
    same((A | B).by("borda"), (B | A).by("borda"))


@SOME
@given(seeds, gaps)
def test_a_factor_of_a_whole_sum_scales_its_scores(seed: int, missing: float) -> None:
    one, twice = fused(A + 3 * B, seed, missing), fused(2 * (A + 3 * B), seed, missing)
    np.testing.assert_array_equal(2 * one.scores, twice.scores)
    assert lists(2 * A | 2 * B, seed, missing) == lists(A | B, seed, missing)


@SOME
@given(expressions, seeds, gaps, cutoffs, cutoffs)
def test_a_cutoff_is_a_prefix(x: Expression, seed: int, missing: float, j: int, k: int) -> None:
    whole = lists(x, seed, missing)
    assert lists(x % k, seed, missing) == [one[:k] for one in whole]
    assert lists(x % j % k, seed, missing) == [one[:j][:k] for one in whole]
    assert lists(x % 1000, seed, missing) == whole


@SOME
@given(expressions, expressions, seeds, gaps, cutoffs)
def test_a_cascade_reorders_a_prefix(
    x: Expression, y: Expression, seed: int, missing: float, k: int
) -> None:
    try:
        cascade = x % k >> y
    except ConfigError:  # a cutoff that rises
        return
    # what a cutoff drops from a list it only moves back in a cascade
    bare, k = (x.inner, min(x.k, k)) if isinstance(x, Cut) else (x, k)
    if isinstance(bare, Model) and missing:
        return  # alone it leaves out what it has no score for, as a stage it puts it last
    for old, new in zip(lists(bare, seed, missing), lists(cascade, seed, missing), strict=True):
        kept = min(len(old[:k]), len(new))
        assert set(new[:kept]) <= set(old[:k])
        assert new[kept:] == old[kept : len(new)]
        assert isinstance(y, Cut) or len(new) == len(old)


def stage(x: Expression, keep: int | None = None) -> dict[str, Any]:
    """A stage that holds ``x`` as a fusion, however simple it is."""
    return {"fusion": x.to_config(), **({} if keep is None else {"keep": keep})}


@SOME
@given(seeds, gaps, cutoffs, cutoffs)
def test_brackets_of_a_cascade_change_no_list(seed: int, missing: float, i: int, j: int) -> None:
    k, j = sorted((i, j))
    x, y, z = A | B, B + C, C | D
    inner, outer = y % k >> z, x % j >> y
    right = {"mode": "serial", "stages": [stage(x, j), stage(inner)]}
    left = {"mode": "serial", "stages": [stage(outer, k), stage(z)]}
    flat = lists(x % j >> y % k >> z, seed, missing)
    assert lists(right, seed, missing) == flat
    assert lists(left, seed, missing) == flat
    cut = lists((x % j >> y) % k, seed, missing)
    assert cut == [one[:k] for one in lists(x % j >> y, seed, missing)]


@SOME
@given(seeds, cutoffs)
def test_a_cascade_that_cuts_nothing_is_its_last_stage(seed: int, k: int) -> None:
    assert lists((A | B) % 1000 >> C + D, seed) == lists(C + D, seed)
    assert lists(A % k >> A, seed) == lists(A, seed)


@SOME
@given(seeds, gaps)
def test_a_sub_expression_counts_as_what_it_is_alone(seed: int, missing: float) -> None:
    alone = fused(A + B, seed, missing)
    column = float32_in_order(alone.scores, alone.candidates)
    assert ordered(alone) == ordered(
        Fused.of(alone.candidates, column.astype(np.float64), ("x",), alone.scores[:, None])
    )
    ranked = {
        (query, item): 1 / (60 + rank)
        for query, items in enumerate(ordered(alone))
        for rank, item in enumerate(items, start=1)
    }
    both, c = fused((A + B) | C, seed, missing), fused(C | D, seed, missing)
    own = c.contributions[:, c.parts.index("c")]
    rows, items = both.candidates.rows.tolist(), both.candidates.items.tolist()
    expected = own + [ranked[key] for key in zip(rows, items, strict=True)]
    np.testing.assert_allclose(both.scores, expected, rtol=1e-12)


def test_a_cascade_by_hand() -> None:
    # a orders 1 2 3 4 5; b orders 5 4 3 2 1; c orders 3 2 1 ...
    pool = pool_of(
        candidates_of([{i: (6 - i, i, {1: 1, 2: 2, 3: 3}.get(i, 0)) for i in range(1, 6)}])
    )

    def run(x: Expression) -> list[list[int]]:
        return ordered(make("fusion", "f", filled_component("fusion", x.to_config())).fuse(pool))  # type: ignore[attr-defined]

    assert run(A % 3 >> B) == [[3, 2, 1, 4, 5]]
    assert run(A % 3 >> B % 2) == [[3, 2]]
    assert run((A % 3 >> B) % 4) == [[3, 2, 1, 4]]
    assert run((A % 3 >> B) % 4 >> A) == [[1, 2, 3, 4, 5]]
    assert run(A % 4 >> B % 2 >> C) == [[3, 4, 2, 1, 5]]
    # min-max: a gives 1, 3/4, 1/2, 1/4, 0; b the reverse; c 1/3, 2/3, 1, 0, 0
    assert run(2 * A + B) == [[1, 2, 3, 4, 5]]
    assert run(A + B + C) == [[3, 2, 1, 4, 5]]


# What is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: model("A"), "model: expected the name of a model, like item_knn, got 'A'"),
        (lambda: model("cascade"), "got 'cascade'"),
        (lambda: model(3), "got 3"),  # type: ignore[arg-type]
        (lambda: A + "b", r"\+: expected an expression, got str 'b'; write model\('b'\)"),
        (lambda: "b" + A, r"\+: expected an expression"),
        (lambda: 1 + A, r"\+: expected an expression, got int 1"),
        (lambda: A | "b", r"\|: expected an expression"),
        (lambda: "b" | A, r"\|: expected an expression"),
        (lambda: A % 2 >> "b", ">>: expected an expression"),
        (lambda: "b" >> A, ">>: expected an expression"),
        (lambda: A % 0, "%: expected a whole number of at least 1, got int 0"),
        (lambda: A % 2.0, "got float 2.0"),
        (lambda: A % True, "got bool True"),
        (lambda: 3 % A, "%: expected an expression"),
        (lambda: 0 * A, r"\*: expected a weight above 0, got 0"),
        (lambda: A * -1, "got -1"),
        (lambda: A * float("nan"), "got nan"),
        (lambda: A * float("inf"), "got inf"),
        (lambda: 1e300 * (1e300 * A), "got inf"),
        (lambda: A * True, "expected a number, got bool"),
        (lambda: A * B, r"expected a number, got Model model\('b'\)"),
        (lambda: A | B | A, "each operand once, got a twice"),
        (lambda: A >> B, "a cutoff before it, got a; say how many go on: a % 100"),
        (lambda: A % 5 >> B >> C, r"got a % 5 >> b; say how many go on: \(a % 5 >> b\) % 100"),
        (lambda: A % 3 >> B % 5, "at most the 3 that reach it, got 5"),
        (lambda: A % 3 >> (B % 5 >> C), "at most the 3 that reach it, got 5"),
        (lambda: A.by("borda"), "by: expected a union, got a"),
        (lambda: (A | B).by("bordas"), "did you mean 'borda'"),
        (lambda: (A | B).by("rrf", kk=1), "method.kk"),
        (lambda: (A | B).by("rrf", k=object()), "by: expected text, numbers"),
        (lambda: (A | B).by("rrf", weights={"a": 1}), "weights as factors"),
        ((A | 2 * B).learned, "a union without weights, got a | 2 \\* b"),
        (lambda: A.learned(depth=3), "learned: depth"),
        (lambda: A.learned(models=["b"]), "settings of the stacking, got 'models'"),
    ],
)
def test_bad_operands(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


def test_the_public_names() -> None:
    assert all(hasattr(algebra, name) for name in algebra.__all__)
