import numpy as np
import pytest
from after_lists import catalog_of, falling, fused_of, items_of, queries_of, random_lists, show
from pydantic import ValidationError

from fusion.after.pipeline import After, StepSpec
from fusion.after.step import Phase, Ranking, Step
from fusion.errors import ConfigError
from fusion.registry import known, resolve
from fusion.topk import top_of

CATALOG = catalog_of(6, categories=[["war"], ["war"], ["space"], ["space"], ["music"], None])
PIN = {"name": "pin", "items": [{"item": "i5", "position": 1}]}


def test_every_step_is_registered():
    assert sorted(known("steps")) == sorted(
        [
            *("boost", "calibrated", "dpp", "epsilon", "filter"),
            *("mmr", "pin", "quota", "thompson", "xquad"),
        ]
    )
    for name in known("steps"):
        assert issubclass(resolve("steps", name), Step)
        for field in resolve("steps", name).Config.model_fields.values():
            assert field.description


def test_without_steps_it_is_the_fused_list():
    fused, queries, catalog = random_lists(np.random.default_rng(0))
    shown, plain = show([], fused, catalog, k=5, queries=queries), top_of(fused, 5)
    for name in ("offsets", "items", "scores", "ranks", "contributions"):
        np.testing.assert_array_equal(getattr(shown.top, name), getattr(plain, name))
    assert shown.top.parts == plain.parts
    assert shown.top.ranks.dtype == plain.ranks.dtype
    assert shown.removed == {}
    assert set(shown.notes) <= {()}
    assert (shown.propensities == 1).all()


def test_equal_scores_are_ordered_by_item_index():
    assert items_of(show([], fused_of({4: 1.0, 2: 1.0, 3: 2.0}), CATALOG)) == [3, 2, 4]


def test_the_depth_is_what_the_steps_need():
    assert After([]).depth(10) == 10
    assert After([PIN]).depth(10) == 10
    assert After([{"name": "mmr", "pool": 50}]).depth(10) == 50
    assert After([{"name": "filter", "pool": 20}, {"name": "mmr", "pool": 50}]).depth(10) == 50
    assert After(["mmr"]).depth(300) == 300


@pytest.mark.parametrize(
    "steps",
    [
        [PIN, "mmr"],
        ["epsilon", "mmr"],
        ["mmr", {"name": "filter", "deny": ["i1"]}],
        ["dpp", {"name": "boost", "where": [{"field": "categories", "equals": "x"}], "add": 1}],
        [PIN, "thompson"],
    ],
)
def test_phases_never_fall(steps):
    with pytest.raises(ConfigError, match="filters first, then boosts"):
        After(steps)


def test_a_step_that_stands_twice_has_a_label_of_its_own():
    steps = [{"name": "filter", "deny": ["i0"]}, {"name": "filter", "deny": ["i1"]}, "mmr"]
    after = After(steps)
    assert after.labels == ("filter", "filter_2", "mmr")
    shown = show(steps, fused_of(falling(*range(6))), CATALOG)
    assert shown.removed == {"filter: denied": [0], "filter_2: denied": [1]}


def test_the_catalogue_is_looked_at_once():
    looked = []

    class Watching(Step):
        def bind(self, catalog):
            looked.append(catalog)
            return len(catalog)

        def apply(self, ranking, context):
            assert context.bound == len(context.catalog)
            return ranking

    after, fused = After([Watching()]), fused_of(falling(0, 1))
    other = catalog_of(3)
    for catalog in (CATALOG, CATALOG, other, other):
        after.apply(fused, queries_of([]), catalog, 2, np.random.default_rng(0))
    assert looked == [CATALOG, other]
    assert Watching.phase is Phase.ORDER


def test_a_step_fills_as_many_places_as_the_next_one_looks_at():
    wanted = []

    class Watching(Step):
        def apply(self, ranking, context):
            wanted.append((context.k, context.wanted))
            return ranking

    quota = {"name": "quota", "field": "categories", "at_most": 1, "pool": 40}
    show([Watching(), quota, Watching()], fused_of(falling(0, 1)), CATALOG, k=2)
    assert wanted == [(2, 40), (2, 2)]


def test_only_exploration_draws_from_the_generator():
    fused = fused_of(falling(0, 1))
    for steps, moves in ((["mmr", PIN], False), (["epsilon"], True)):
        rng = np.random.default_rng(4)
        After(steps).apply(fused, queries_of([]), CATALOG, 2, rng)
        assert (rng.random() != np.random.default_rng(4).random()) == moves


def test_contributions_only_when_asked():
    shown = show(["mmr"], fused_of(falling(0, 1, 2)), CATALOG, explain=False)
    assert shown.top.parts == ()
    assert shown.top.contributions.shape == (3, 0)


def test_the_whole_pipeline_together():
    steps = [
        {"name": "filter", "deny": ["i0"]},
        {"name": "boost", "where": [{"field": "categories", "contains": "music"}], "add": 1},
        {"name": "mmr", "trade_off": 0.5},
        {"name": "thompson", "scale": 0.01},
        PIN,
    ]
    shown = show(steps, fused_of(falling(0, 1, 2, 3, 4)), CATALOG, k=4)
    # left: i1 4, i2 3, i3 2, i4 1 + sd; diverse: war, then music or space, then the other
    assert items_of(shown)[0] == 5
    assert sorted(items_of(shown)[1:]) == [1, 2, 4]
    assert shown.removed == {"filter: denied": [0]}
    known_rows = ~np.isnan(shown.top.scores)
    np.testing.assert_allclose(
        shown.top.contributions.sum(axis=1)[known_rows], shown.top.scores[known_rows]
    )


def test_a_ranking_is_never_changed_in_place():
    fused, queries, catalog = random_lists(np.random.default_rng(9))
    before = Ranking.of(fused)
    copies = [getattr(before, name).copy() for name in ("items", "scores", "rows", "propensities")]
    from fusion.after.step import StepContext

    for name in ("mmr", "dpp", "xquad", "calibrated", "epsilon", "thompson"):
        step = StepSpec.model_validate(name).build()
        context = StepContext(queries, catalog, 5, 5, name, step.bind(catalog))
        step.apply(before, context)
    for name, copy in zip(("items", "scores", "rows", "propensities"), copies, strict=True):
        np.testing.assert_array_equal(getattr(before, name), copy)


def test_a_spec_fills_in_every_default_and_refuses_what_is_unknown():
    spec = StepSpec.model_validate({"name": "mmr"})
    assert spec.model_dump() == {
        "name": "mmr",
        "pool": 100,
        "field": "categories",
        "trade_off": 0.7,
    }
    spec = StepSpec.model_validate({"name": "filter", "keep": [{"field": "price", "in": [1]}]})
    assert StepSpec.model_validate(spec.model_dump()) == spec
    for wrong in ({"name": "mmr", "lambda": 0.5}, {"name": "mmr", "trade_off": 2}):
        with pytest.raises(ValidationError):
            StepSpec.model_validate(wrong)


def test_empty_batches():
    none = fused_of()
    for steps in (
        ["mmr"],
        ["epsilon"],
        [PIN],
        [{"name": "quota", "field": "categories", "at_most": 1}],
    ):
        shown = show(steps, none, CATALOG)
        assert shown.top.offsets.tolist() == [0]
        assert shown.notes == ()
