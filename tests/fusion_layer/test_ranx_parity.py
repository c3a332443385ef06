"""Ours against ranx, whose fusion is the best kept one: where they agree, and where not on purpose.

``docs/decisions/0005-fusion-parity.md`` gives the reasons for the differences. ranx compiles on
first use, which takes most of this file's time; so everything that is compared goes through few
calls, on one set of runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pools import candidates_of, pool_of

from fusion.candidates import Candidates, Missing
from fusion.strategies.parallel import Parallel

# ranx's own code, told by numba while it compiles
pytestmark = pytest.mark.filterwarnings("ignore:unsafe cast from uint64 to int64:Warning")

GONE = Missing.NOT_RETRIEVED
SILENT = {"timed_out": "nan", "filtered": "nan"}
MODELS = ("a", "b", "c")
WEIGHTS = {"a": 0.5, "b": 2.0, "c": 1.25}
Fusion = dict[tuple[str, str], float]


def random_runs() -> Candidates:
    """30 queries; every model lists 1 to 20 of 40 items with scores that are all different."""
    rng = np.random.default_rng(0)
    lists: list[dict[int, list[Any]]] = []
    for _ in range(30):
        query: dict[int, list[Any]] = {}
        for m in range(3):
            for item in rng.choice(40, rng.integers(2, 21), replace=False):
                query.setdefault(int(item), [GONE] * 3)[m] = float(np.float32(rng.normal()))
        lists.append(query)
    return candidates_of(lists)


DEGENERATE = candidates_of(
    [
        {1: (3, 2, 1), 2: (1, 3, 2), 3: (2, 1, 3)},  # a circle
        {1: (2, GONE, GONE), 2: (1, GONE, GONE), 3: (GONE, 2, GONE), 4: (GONE, 1, GONE)}
        | {5: (GONE, GONE, 2), 6: (GONE, GONE, 1)},  # disjoint lists
        {1: (-5, -1e6, 1e-6), 2: (-7, -2e6, 2e-6), 3: (-6, -3e6, 5e-6)},  # any scale
    ]
)
CONSTANT = candidates_of([{1: (4, 1, 1), 2: (4, 2, GONE), 3: (4, 3, GONE)}])


def runs_of(candidates: Candidates) -> list[Any]:
    from ranx import Run

    rows, items = candidates.rows, candidates.items
    runs = []
    for m in range(3):
        run: dict[str, dict[str, float]] = {}
        for row in np.flatnonzero(~np.isnan(candidates.scores[:, m])):
            run.setdefault(f"q{rows[row]}", {})[f"i{items[row]}"] = float(candidates.scores[row, m])
        runs.append(Run(run))
    return runs


@pytest.fixture(scope="module")
def theirs() -> Any:
    """``theirs(candidates, method, norm)``: the fused scores by ranx."""
    from ranx import fuse

    def fused(candidates: Candidates, method: str, norm: str | None) -> Fusion:
        params = {"weights": tuple(WEIGHTS.values())} if method == "wsum" else None
        found = fuse(runs_of(candidates), norm=norm, method=method, params=params)
        return {(q, i): s for q, hits in found.to_dict().items() for i, s in hits.items()}

    return fused


def ours(candidates: Candidates, config: dict[str, Any]) -> Fusion:
    fused = Parallel(config).fuse(pool_of(candidates))
    keys = zip(candidates.rows.tolist(), candidates.items.tolist(), strict=True)
    return {
        (f"q{q}", f"i{i}"): score for (q, i), score in zip(keys, fused.scores.tolist(), strict=True)
    }


SAME = pytest.mark.parametrize(
    ("config", "method", "norm"),
    [
        ({"method": "rrf"}, "rrf", None),
        ({"method": "comb_mnz"}, "mnz", "min-max"),
        ({"method": "weighted_sum", "weights": WEIGHTS}, "wsum", "min-max"),
        (
            {
                "method": {
                    "name": "weighted_sum",
                    "normalization": "rank",
                    "missing": SILENT,
                },
                "weights": WEIGHTS,
            },
            "wsum",
            "rank",
        ),
        (
            {
                "method": {
                    "name": "weighted_sum",
                    "normalization": "z_score",
                    "missing": SILENT,
                },
                "weights": WEIGHTS,
            },
            "wsum",
            "zmuv",
        ),
    ],
)


@SAME
@pytest.mark.parametrize("lists", [random_runs(), DEGENERATE], ids=["random", "degenerate"])
def test_the_same_scores(
    theirs: Any, lists: Candidates, config: dict[str, Any], method: str, norm: str | None
) -> None:
    assert ours(lists, config) == pytest.approx(theirs(lists, method, norm), rel=1e-9, abs=1e-12)


def test_a_constant_list_says_something_with_us_and_nothing_with_ranx(theirs: Any) -> None:
    # a gave 4 to everything, c listed item 1 alone, b is 0, 1/2, 1
    weighted = {"method": "weighted_sum", "weights": WEIGHTS}
    wa, wb, wc = WEIGHTS.values()
    assert ours(CONSTANT, weighted) == pytest.approx(
        {("q0", "i1"): wa + wc, ("q0", "i2"): wa + wb / 2, ("q0", "i3"): wa + wb}
    )
    assert theirs(CONSTANT, "wsum", "min-max") == pytest.approx(
        {("q0", "i1"): 0, ("q0", "i2"): wb / 2, ("q0", "i3"): wb}
    )
    assert ours(CONSTANT, {"method": "comb_mnz"}) == pytest.approx(
        {("q0", "i1"): 3 * (1 + 0 + 1), ("q0", "i2"): 2 * (1 + 1 / 2), ("q0", "i3"): 2 * (1 + 1)}
    )


def test_a_missing_score_is_no_better_than_the_worst_with_us_and_0_with_ranx(theirs: Any) -> None:
    """On a scale with negative numbers 0 lifts an unlisted item above what the model put last."""
    lists = candidates_of([{1: (3, 1, 1), 2: (1, 2, 2), 3: (GONE, 3, 3)}])
    z = {"method": {"name": "weighted_sum", "normalization": "z_score"}, "weights": WEIGHTS}
    wa = WEIGHTS["a"]
    mine, his = ours(lists, z), theirs(lists, "wsum", "zmuv")
    assert his[("q0", "i3")] - mine[("q0", "i3")] == pytest.approx(0 - wa * -1)
    assert mine[("q0", "i1")] == pytest.approx(his[("q0", "i1")])


def test_a_spread_below_1e_9_is_a_spread_with_us(theirs: Any) -> None:
    tiny: npt.NDArray[np.float64] = np.array([1e-12, 2e-12, 3e-12])
    lists = candidates_of([{i: (float(tiny[i]), 1 + i, 1 + i) for i in range(3)}])
    only_a = {"method": "weighted_sum", "weights": {"a": 1, "b": 0, "c": 0}}
    assert ours(lists, only_a)[("q0", "i2")] == 1
    assert theirs(lists, "wsum", "min-max")[("q0", "i2")] == pytest.approx(
        (2e-12 / 1e-9) * WEIGHTS["a"] + WEIGHTS["b"] + WEIGHTS["c"]
    )
