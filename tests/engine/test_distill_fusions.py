from __future__ import annotations

import numpy as np
import pytest

from fusion import Candidates, Dataset, Engine
from fusion.candidates import Scores
from fusion.distillation.fusions import fusions_of, least_squares_weights
from fusion.distillation.lessons import draw_moments, lessons_of

NAN = np.float32("nan")


def columns(**scores: list[float]) -> Candidates:
    n = len(next(iter(scores.values())))
    rows = Candidates.bare(np.array([0, n]), np.arange(n, dtype=np.int32))
    for name, values in scores.items():
        rows = rows.with_scores(name, Scores.of(np.array(values, np.float32)))
    return rows


def test_the_weights_written_out() -> None:
    # z of a: +-1; z of b: (1, -1, 1, -1); the teacher is 3 a + b, so the weights are 3/4 and 1/4
    found = columns(a=[5, 5, 1, 1], b=[9, 7, 9, 7])
    a, b = np.array([1, 1, -1, -1]), np.array([1, -1, 1, -1])
    assert least_squares_weights(found, 3.0 * a + b) == {"a": 0.75, "b": 0.25}
    # against b: its weight would be negative and is 0
    assert least_squares_weights(found, 3.0 * a - b) == {"a": 1.0}
    # nobody helps
    assert least_squares_weights(found, -1.0 * a - b) == {}
    assert least_squares_weights(found, np.full(4, np.nan)) == {}


def test_missing_scores_count_as_the_mean() -> None:
    found = columns(a=[5, 1, NAN, NAN], b=[1, 2, 3, 4])
    z = np.array([1.0, -1.0, 0.0, 0.0])
    assert least_squares_weights(found, z) == {"a": 1.0}
    # a row that the teacher left out does not count
    assert least_squares_weights(columns(a=[2, 1, 3]), np.array([1.0, -1.0, np.nan])) == {"a": 1.0}


def test_what_is_offered(tiny: Dataset) -> None:
    simple = fusions_of("student", ("ease", "popularity"), 50)
    assert [f["mode"] for f in simple] == ["serial"] * 2
    for fusion in simple:
        assert fusion["stages"][0] == {
            "models": ["ease", "popularity"],
            "method": "rrf",
            "keep": 50,
        }
    assert simple[0]["stages"][1] == {"models": ["student"]}
    assert simple[1]["stages"][1] == {"models": ["ease", "popularity", "student"]}


def test_a_linear_teacher_is_found_again(tiny: Dataset) -> None:
    method = {"name": "weighted_sum", "normalization": "z_score", "weights": {"ease": 3.0}}
    config = {
        "retrievers": {"ease": {"reg": 5, "n": 30}, "item_knn": {"n": 30}, "popularity": {"n": 30}},
        "fusion": {"mode": "parallel", "method": method, "models": ["ease", "item_knn"]},
        "stacking": None,
    }
    engine = Engine.from_config(config).fit(tiny)
    moments = draw_moments(tiny, 40, 1, np.random.default_rng(0))
    _, judged = lessons_of(engine, moments, 30, progress=False)
    names = ("ease", "item_knn")  # popularity is in the student's place
    found = fusions_of("popularity", names, 30, engine.pool(judged.queries), judged)
    assert len(found) == 3
    weights = found[2]["stages"][1]["weights"]
    assert found[2]["stages"][1]["models"] == list(weights)
    assert weights["ease"] / weights["item_knn"] == pytest.approx(3, rel=0.1)
    assert weights.get("popularity", 0) < 0.02
