from __future__ import annotations

import numpy as np
import pytest
from fusion_layer.pools import window_of
from lessons import QUICK, lesson_of, stacker_of, view_of

from fusion.protocols import FitContext
from fusion.stackers.blend import Blend, _spread
from fusion.strategies.learned import Learned

#: first four scores of `window_of(20, seed=1)`, written down before stackers were plug-ins
GOLDEN = {
    "trees": (
        {"blend": 0.0},
        [-0.8549543744432984, 0.55118971527293, -2.349894801177235, 1.5051467165593133],
    ),
    "linear": (
        {"blend": 1.0},
        [0.5855103171678276, 1.0971711059358629, -1.14750997470327, 1.880543066451081],
    ),
    "both": (
        {},
        [-0.13472202863773536, 0.8241804106043964, -1.7487023879402526, 1.6928448915051972],
    ),
}


@pytest.mark.parametrize("case", GOLDEN)
def test_the_scores_are_what_they_were(case: str) -> None:
    changed, expected = GOLDEN[case]
    quick = {k: QUICK[k] for k in ("n_estimators", "early_stopping", "folds", "learning_rate")}
    stacker = {"name": "blend", **quick, "num_threads": 1, **changed}
    strategy = Learned({"stacker": stacker}, name="learned")
    strategy.fit([window_of(120)], FitContext(seed=3))
    scores = strategy.fuse(window_of(20, seed=1).pool).scores
    np.testing.assert_allclose(scores[:4], expected, rtol=1e-9)


def test_with_every_default_too() -> None:
    strategy = Learned(name="learned")
    strategy.fit([window_of(120)], FitContext(seed=3))
    expected = [-0.19102032818843706, 0.8380733385885732, -1.7465433543471773, 1.6379458548570476]
    scores = strategy.fuse(window_of(20, seed=1).pool).scores
    np.testing.assert_allclose(scores[:4], expected, rtol=1e-9)
    assert strategy.config.stacker.name == "blend"


def test_it_is_the_two_on_the_scale_of_their_spread() -> None:
    lesson, view = lesson_of(window_of(60)), view_of(window_of(8, seed=1))
    blend = stacker_of("blend", blend=0.25)
    blend.fit(lesson, np.random.default_rng(5))
    trees = stacker_of("lambdamart")
    a = trees.learn(lesson, np.random.default_rng(5))
    linear = stacker_of("linear")
    b = linear.learn(lesson, np.random.default_rng(5))
    expected = 0.75 * trees.scores(view) / _spread(a, lesson.offsets)
    expected += 0.25 * linear.scores(view) / _spread(b, lesson.offsets)
    np.testing.assert_allclose(blend.scores(view), expected, rtol=1e-12)
    assert set(blend.importance()) == {"gain", "mean_abs_shap", "coefficient_sd"}


def test_spread_is_inside_a_query() -> None:
    offsets = np.array([0, 2, 4])
    # means 2 and 10; deviations 1, 1, 3, 3
    assert _spread(np.array([1.0, 3, 7, 13]), offsets) == pytest.approx(
        np.sqrt((1 + 1 + 9 + 9) / 4)
    )
    assert _spread(np.array([5.0, 5, 6, 6]), offsets) == 1


def test_a_share_of_nothing_is_not_learnt() -> None:
    alone = Blend({"blend": 1.0})
    alone.fit(lesson_of(window_of(30)), np.random.default_rng(0))
    assert set(alone.importance()) == {"coefficient_sd"}
