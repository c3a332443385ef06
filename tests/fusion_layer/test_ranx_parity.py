"""Ours against ranx, whose fusion is the best kept one: where they agree, and where not on purpose.

``docs/decisions/0005-fusion-parity.md`` gives the reasons for the differences. ranx compiles every
method on first use, minutes in all; so one process of its own runs its source uncompiled, on all
lists and methods at once. The methods that learn have parity tests of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pools import candidates_of, pool_of

from fusion.candidates import Candidates, Missing
from fusion.strategies.parallel import Parallel

GONE = Missing.NOT_RETRIEVED
SILENT = {"timed_out": "nan", "filtered": "nan"}
WEIGHTS = {"a": 0.5, "b": 2.0, "c": 1.25}
BALANCED = {"a": 1.5, "b": 2.0, "c": 1.25}  # any two outweigh the third
MUTED = {"a": 0.0, "b": 2.0, "c": 1.25}
Fusion = dict[tuple[str, str], float]

RANX = """
import json, sys
from ranx import Run, fuse
from ranx.fusion.condorcet import _compare
lists, jobs = json.load(sys.stdin)
lists = {name: [Run(run) for run in runs] for name, runs in lists.items()}
out = []
for name, method, norm, params in jobs:
    fused = fuse(lists[name], norm=norm, method=method, params=params)
    out.append({q: {i: float(s) for i, s in hits.items()} for q, hits in fused.to_dict().items()})
# two items of which only the first of three voters listed the first: either order
listed = [[0, 1_000_000], [1_000_000, 1_000_000], [1_000_000, 1_000_000]]
out.append([_compare(0, 1, listed), _compare(1, 0, listed)])
json.dump(out, sys.stdout)
"""


def random_runs() -> Candidates:
    """30 queries; every model lists 2 to 20 of 40 items with scores that are all different."""
    rng = np.random.default_rng(0)
    lists: list[dict[int, list[Any]]] = []
    for _ in range(30):
        query: dict[int, list[Any]] = {}
        for m in range(3):
            for item in rng.choice(40, rng.integers(2, 21), replace=False):
                query.setdefault(int(item), [GONE] * 3)[m] = float(np.float32(rng.normal()))
        lists.append(query)
    return candidates_of(lists)


def ballots() -> Candidates:
    """60 queries of 5 items, each ranked by every model: majorities, some of them in circles."""
    rng = np.random.default_rng(1)
    return candidates_of(
        [dict(enumerate(np.argsort(rng.random((5, 3)), axis=0).tolist())) for _ in range(60)]
    )


LISTS = {
    "random": random_runs(),
    "degenerate": candidates_of(
        [
            {1: (3, 2, 1), 2: (1, 3, 2), 3: (2, 1, 3)},  # a circle
            {1: (2, GONE, GONE), 2: (1, GONE, GONE), 3: (GONE, 2, GONE), 4: (GONE, 1, GONE)}
            | {5: (GONE, GONE, 2), 6: (GONE, GONE, 1)},  # disjoint lists
            {1: (-5, -1e6, 1e-6), 2: (-7, -2e6, 2e-6), 3: (-6, -3e6, 5e-6)},  # any scale
            {1: (5, 5, 1), 2: (5, 4, 2), 3: (4, 4, 2), 4: (4, 5, 1)},  # ties, in item order
        ]
    ),
    "constant": candidates_of([{1: (4, 1, 1), 2: (4, 2, GONE), 3: (4, 3, GONE)}]),
    "one": candidates_of([{7: (3, 1, 2)}]),
    "negative": candidates_of([{1: (3, 1, 1), 2: (1, 2, 2), 3: (GONE, 3, 3)}]),
    "tiny": candidates_of([{i: (1e-12 * (1 + i), 1 + i, 1 + i) for i in range(3)}]),
    "circle": candidates_of([{1: (3, 2, 1), 2: (1, 3, 2), 3: (2, 1, 3)}]),
    "ballots": ballots(),
}
#: our configuration, ranx's method and normalisation, its parameters
SAME: dict[str, tuple[dict[str, Any], str, str | None, dict[str, Any]]] = {
    "rrf": ({"name": "rrf"}, "rrf", None, {}),
    "isr": ({"name": "isr"}, "isr", None, {}),
    "log_isr": ({"name": "log_isr"}, "log_isr", None, {}),
    "logn_isr": ({"name": "logn_isr", "sigma": 0.5}, "logn_isr", None, {"sigma": 0.5}),
    "rbc": ({"name": "rbc", "phi": 0.8}, "rbc", None, {"phi": 0.8}),
    "borda": ({"name": "borda"}, "bordafuse", None, {}),
    "comb_min": ({"name": "comb_min"}, "min", "min-max", {}),
    "comb_max": ({"name": "comb_max"}, "max", "min-max", {}),
    "comb_med": ({"name": "comb_med"}, "med", "min-max", {}),
    "comb_sum": ({"name": "comb_sum"}, "sum", "min-max", {}),
    "comb_anz": ({"name": "comb_anz"}, "anz", "min-max", {}),
    "comb_mnz": ({"name": "comb_mnz"}, "mnz", "min-max", {}),
    "comb_gmnz": ({"name": "comb_gmnz", "gamma": 1.7}, "gmnz", "min-max", {"gamma": 1.7}),
    "comb_med_z": ({"name": "comb_med", "normalization": "z_score"}, "med", "zmuv", {}),
    "comb_min_z": ({"name": "comb_min", "normalization": "z_score"}, "min", "zmuv", {}),
    "weighted_borda": ({"name": "weighted_borda", "weights": WEIGHTS}, "w_bordafuse", None, {}),
    "mixed": ({"name": "mixed", "weights": WEIGHTS}, "mixed", "min-max", {}),
    "wmnz": ({"name": "wmnz", "weights": WEIGHTS}, "wmnz", "min-max", {}),
    "weighted_sum": ({"name": "weighted_sum", "weights": WEIGHTS}, "wsum", "min-max", {}),
    "weighted_sum_rank": (
        {
            "name": "weighted_sum",
            "normalization": "rank",
            "missing": SILENT,
            "weights": WEIGHTS,
        },
        "wsum",
        "rank",
        {},
    ),
    "weighted_sum_z": (
        {
            "name": "weighted_sum",
            "normalization": "z_score",
            "missing": SILENT,
            "weights": WEIGHTS,
        },
        "wsum",
        "zmuv",
        {},
    ),
}
WEIGHTED = {"wsum", "wmnz", "mixed", "w_bordafuse", "w_condorcet"}
#: what is compared one by one below: lists, method, normalisation, weights
ALONE: list[tuple[str, str, str | None, dict[str, float]]] = [
    ("constant", "wsum", "min-max", WEIGHTS),
    ("constant", "med", "min-max", {}),
    ("one", "mnz", "min-max", {}),
    ("one", "bordafuse", None, {}),
    ("one", "isr", None, {}),
    ("negative", "wsum", "zmuv", WEIGHTS),
    ("tiny", "wsum", "min-max", WEIGHTS),
    ("circle", "condorcet", None, {}),
    ("ballots", "condorcet", None, {}),
    ("ballots", "w_condorcet", None, BALANCED),
    ("circle", "wmnz", "min-max", MUTED),
]


def runs_of(candidates: Candidates) -> list[Any]:
    """One mapping query -> item -> score a model, items in their order."""
    rows, items = candidates.rows, candidates.items
    runs = []
    for column in candidates.scores.T:
        run: dict[str, dict[str, float]] = {}
        for row in np.flatnonzero(~np.isnan(column)):
            run.setdefault(f"q{rows[row]}", {})[f"i{items[row]}"] = float(column[row])
        runs.append(run)
    return runs


@pytest.fixture(scope="module")
def ranx() -> dict[Any, Any]:
    """Everything by ranx: ``(lists, method, norm, weights)`` -> fused scores."""
    jobs: list[Any] = []
    keys: list[Any] = []
    for name, (_, method, norm, params) in SAME.items():
        for lists in ("random", "degenerate"):
            given = params | ({"weights": list(WEIGHTS.values())} if method in WEIGHTED else {})
            jobs.append((lists, method, norm, given))
            keys.append((lists, name))
    for lists, method, norm, weights in ALONE:
        params = {"weights": list(weights.values())} if weights else {}
        jobs.append((lists, method, norm, params))
        keys.append((lists, method))
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps([{name: runs_of(lists) for name, lists in LISTS.items()}, jobs]),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *found, compared = json.loads(done.stdout)
    flat = [{(q, i): s for q, hits in one.items() for i, s in hits.items()} for one in found]
    return dict(zip(keys, flat, strict=True)) | {"compared": compared}


def ours(lists: str, method: dict[str, Any]) -> Fusion:
    candidates = LISTS[lists]
    fused = Parallel({"method": method}).fuse(pool_of(candidates))
    keys = zip(candidates.rows.tolist(), candidates.items.tolist(), strict=True)
    return {
        (f"q{q}", f"i{i}"): score for (q, i), score in zip(keys, fused.scores.tolist(), strict=True)
    }


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("lists", ["random", "degenerate"])
def test_the_same_scores(ranx: Any, lists: str, name: str) -> None:
    assert ours(lists, SAME[name][0]) == pytest.approx(ranx[lists, name], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("theirs", "method"), [("bordafuse", "borda"), ("isr", "isr")])
def test_one_item(ranx: Any, theirs: str, method: str) -> None:
    assert ours("one", {"name": method}) == pytest.approx(ranx["one", theirs])


@pytest.mark.parametrize(
    ("theirs", "method", "least"),
    [
        ("condorcet", {"name": "condorcet"}, 40),
        ("w_condorcet", {"name": "weighted_condorcet", "weights": BALANCED}, 40),
    ],
)
def test_condorcet_agrees_where_majorities_have_an_order(
    ranx: Any, theirs: str, method: dict[str, Any], least: int
) -> None:
    """Ours counts wins, from 0; theirs numbers the sorted items, from 1."""
    mine, his = ours("ballots", method), ranx["ballots", theirs]
    in_order = 0
    for q in range(60):
        wins = [mine[f"q{q}", f"i{i}"] for i in range(5)]
        if sorted(wins) == [0, 1, 2, 3, 4]:
            in_order += 1
            assert [his[f"q{q}", f"i{i}"] - 1 for i in range(5)] == wins
    assert least <= in_order < 60  # and some circles


def test_a_circle_of_majorities_ties_with_us_and_is_cut_somewhere_by_ranx(ranx: Any) -> None:
    assert set(ours("circle", {"name": "condorcet"}).values()) == {1}
    assert sorted(ranx["circle", "condorcet"].values()) == [1, 2, 3]


def test_what_two_voters_did_not_list_is_no_vote_with_us_and_one_for_either_with_ranx(
    ranx: Any,
) -> None:
    """Asked in one order ranx puts the second first, and asked in the other order too."""
    assert ranx["compared"] == [1, 1]
    lists = candidates_of([{1: (1, GONE, GONE), 2: (0, GONE, GONE)}])
    fused = Parallel({"method": "condorcet"}).fuse(pool_of(lists))
    assert fused.scores.tolist() == [1, 0]


def test_a_model_of_weight_0_adds_its_scores_in_wmnz_of_ranx_and_is_not_there_with_us(
    ranx: Any,
) -> None:
    mine = ours("circle", {"name": "wmnz", "weights": MUTED})
    his = ranx["circle", "wmnz"]
    wb, wc = MUTED["b"], MUTED["c"]
    # a 1, 0, 1/2; b 1/2, 1, 0; c 0, 1/2, 1
    assert mine["q0", "i1"] == pytest.approx((wb + wc) * (1 / 2 + 0))
    assert his["q0", "i1"] == pytest.approx((wb + wc) * (1 + 1 / 2 + 0))


def test_a_constant_list_says_something_with_us_and_nothing_with_ranx(ranx: Any) -> None:
    # a gave 4 to everything, c listed item 1 alone, b is 0, 1/2, 1
    wa, wb, wc = WEIGHTS.values()
    assert ours("constant", {"name": "weighted_sum", "weights": WEIGHTS}) == pytest.approx(
        {("q0", "i1"): wa + wc, ("q0", "i2"): wa + wb / 2, ("q0", "i3"): wa + wb}
    )
    assert ranx["constant", "wsum"] == pytest.approx(
        {("q0", "i1"): 0, ("q0", "i2"): wb / 2, ("q0", "i3"): wb}
    )
    assert ours("constant", {"name": "comb_mnz"}) == pytest.approx(
        {("q0", "i1"): 3 * (1 + 0 + 1), ("q0", "i2"): 2 * (1 + 1 / 2), ("q0", "i3"): 2 * (1 + 1)}
    )
    assert ours("constant", {"name": "comb_med"})["q0", "i1"] == 1  # of 1, 0, 1
    assert ranx["constant", "med"]["q0", "i1"] == 0  # of 0, 0, 0
    assert ours("one", {"name": "comb_mnz"})["q0", "i7"] == 3 * 3
    assert ranx["one", "mnz"]["q0", "i7"] == 0


def test_a_missing_score_is_no_better_than_the_worst_with_us_and_0_with_ranx(ranx: Any) -> None:
    """On a scale with negative numbers 0 lifts an unlisted item above what the model put last."""
    z = {"name": "weighted_sum", "normalization": "z_score", "weights": WEIGHTS}
    mine, his = ours("negative", z), ranx["negative", "wsum"]
    assert his[("q0", "i3")] - mine[("q0", "i3")] == pytest.approx(0 - WEIGHTS["a"] * -1)
    assert mine[("q0", "i1")] == pytest.approx(his[("q0", "i1")])


def test_a_spread_below_1e_9_is_a_spread_with_us(ranx: Any) -> None:
    only_a = {"name": "weighted_sum", "weights": {"a": 1, "b": 0, "c": 0}}
    tiny: npt.NDArray[np.float32] = LISTS["tiny"].scores[:, 0]
    spread = float(tiny[2]) - float(tiny[0])
    assert ours("tiny", only_a)["q0", "i2"] == 1
    assert ranx["tiny", "wsum"]["q0", "i2"] == pytest.approx(
        spread / 1e-9 * WEIGHTS["a"] + WEIGHTS["b"] + WEIGHTS["c"]
    )
