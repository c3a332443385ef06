"""Our normalisations against those of ranx: where they agree, and where not on purpose.

``docs/explanation/normalizations.md`` gives the reasons. As in ``test_ranx_parity.py`` one process
of its own runs ranx uncompiled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pools import candidates_of, random_candidates

from fusion.candidates import Candidates, Missing
from fusion.protocols import Normalization
from fusion.registry import resolve

GONE = Missing.NOT_RETRIEVED
Normalized = dict[tuple[int, str, str], float]

RANX = """
import json, sys
from ranx import Run
from ranx.normalization import norm_switch
out = {}
for name, runs in json.load(sys.stdin).items():
    runs = [Run(run) for run in runs]
    for norm in ("min-max", "min-max-inverted", "max", "sum", "zmuv", "rank", "borda"):
        apply = norm_switch(norm)
        done = apply(runs) if norm == "borda" else [apply(run) for run in runs]
        out[name + " " + norm] = [
            {q: {i: float(s) for i, s in hits.items()} for q, hits in dict(run.run).items()}
            for run in done
        ]
json.dump(out, sys.stdout)
"""
NAMES = {
    "min_max": "min-max",
    "inverted_min_max": "min-max-inverted",
    "max": "max",
    "sum": "sum",
    "z_score": "zmuv",
    "rank": "rank",
    "borda": "borda",
}


def random_lists(positive: bool) -> Candidates:
    """Every query has a list of every model, as ranx wants."""
    rng = np.random.default_rng(0)
    lists = random_candidates(rng, n_queries=30, missing=0.3)
    lists = lists.where(~np.isnan(lists.scores).all(axis=1))  # what nobody lists is no candidate
    some = np.add.reduceat(~np.isnan(lists.scores), lists.offsets[:-1]).min(axis=1) > 1
    lists = lists.take(np.flatnonzero(some & (lists.lengths > 1)))
    scores = np.exp(lists.scores) if positive else lists.scores
    return Candidates(lists.offsets, lists.items, scores, lists.models, lists.why)


LISTS = {
    "positive": random_lists(positive=True),
    "any": random_lists(positive=False),
    "ties": candidates_of([{1: (5, 5, 1), 2: (5, 4, 2), 3: (4, 4, 2), 4: (4, 5, 1)}]),
    "disjoint": candidates_of(
        [{1: (2, GONE), 2: (1, GONE), 3: (GONE, 2), 4: (GONE, 1)}, {1: (7, 1), 2: (3, 9)}]
    ),
    "constant": candidates_of([{1: (4, -4), 2: (4, -4), 3: (4, -4)}]),
    "one": candidates_of([{7: (3, 0.5)}]),
    "zero": candidates_of([{1: (0, 0), 2: (-2, 0)}]),
    "tiny": candidates_of([{i: (1e-12 * (1 + i), 1 + i) for i in range(3)}]),
}


@pytest.fixture(scope="module")
def ranx() -> dict[str, Normalized]:
    """``"lists norm"`` -> (model, query, item) -> score."""
    given: dict[str, list[Any]] = {}
    for name, lists in LISTS.items():
        given[name] = []
        for column in lists.scores.T:
            run: dict[str, dict[str, float]] = {}
            for row in np.flatnonzero(~np.isnan(column)):
                hits = run.setdefault(f"q{lists.rows[row]}", {})
                hits[f"i{lists.items[row]}"] = float(column[row])
            given[name].append(run)
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps(given),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {
        key: {(m, q, i): s for m, r in enumerate(runs) for q, h in r.items() for i, s in h.items()}
        for key, runs in json.loads(done.stdout).items()
    }


def ours(lists: str, name: str) -> Normalized:
    candidates = LISTS[lists]
    normalization = resolve("normalizations", name)()
    assert isinstance(normalization, Normalization)
    found = normalization.normalize(candidates)
    return {
        (int(m), f"q{candidates.rows[row]}", f"i{candidates.items[row]}"): float(found[row, m])
        for row, m in np.argwhere(~np.isnan(candidates.scores))
    }


@pytest.mark.parametrize(
    ("lists", "name"),
    [
        (lists, name)
        for lists in ("positive", "any", "ties", "disjoint")
        for name in NAMES
        if (lists, name) != ("any", "max")  # a difference on purpose, below
    ],
)
def test_the_same_scores(ranx: Any, lists: str, name: str) -> None:
    mine, his = ours(lists, name), ranx[f"{lists} {NAMES[name]}"]
    assert mine == pytest.approx({key: his[key] for key in mine}, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ["rank", "borda", "z_score"])
@pytest.mark.parametrize("lists", ["constant", "one"])
def test_degenerate_lists(ranx: Any, lists: str, name: str) -> None:
    assert ours(lists, name) == pytest.approx(ranx[f"{lists} {NAMES[name]}"], abs=1e-12)


@pytest.mark.parametrize("lists", ["constant", "one"])
def test_equal_scores_are_nothing_with_ranx(ranx: Any, lists: str) -> None:
    """A spread of 0 is divided by 1e-9 there; with us each is the best, or has its share."""
    n = len(LISTS[lists])
    for name, expected in {"min_max": 1, "inverted_min_max": 1, "sum": 1 / n}.items():
        assert set(ours(lists, name).values()) == {expected}
        assert set(ranx[f"{lists} {NAMES[name]}"].values()) == {0}


def test_max_of_a_list_without_a_positive_score(ranx: Any) -> None:
    """ranx divides by 1e-9 then; and by a best just above 0, whatever stands below."""
    assert ours("constant", "max")[1, "q0", "i1"] == -1
    assert ranx["constant max"][1, "q0", "i1"] == pytest.approx(-4e9)
    assert ours("zero", "max") == {
        (0, "q0", "i1"): 0,
        (0, "q0", "i2"): -1,
        (1, "q0", "i1"): 0,
        (1, "q0", "i2"): 0,
    }
    assert ranx["zero max"][0, "q0", "i2"] == pytest.approx(-2e9)
    mine, his = ours("any", "max"), ranx["any max"]
    assert min(mine.values()) >= -1 > min(his.values())
    same = [key for key in mine if mine[key] == pytest.approx(his[key], rel=1e-9)]
    assert len(same) > 50  # wherever the best is the largest in magnitude


def test_scores_below_1e_9_have_a_scale_with_us(ranx: Any) -> None:
    tiny = LISTS["tiny"].scores[:, 0].astype(np.float64)
    assert ours("tiny", "max")[0, "q0", "i0"] == pytest.approx(tiny[0] / tiny[2])
    assert ranx["tiny max"][0, "q0", "i0"] == pytest.approx(tiny[0] / 1e-9)
    assert ours("tiny", "sum")[0, "q0", "i2"] == pytest.approx(2 / 3, rel=1e-6)
    assert ranx["tiny sum"][0, "q0", "i2"] < 0.01
    assert ours("tiny", "z_score")[0, "q0", "i2"] == pytest.approx(1.5**0.5, rel=1e-6)
    assert ranx["tiny zmuv"][0, "q0", "i2"] < 0.01


def test_an_unlisted_item_stays_without_a_score_in_borda_with_us(ranx: Any) -> None:
    """ranx puts its share of the points left there; with us the rule for missing scores decides."""
    lists = LISTS["disjoint"]
    row = int(np.flatnonzero(lists.items == 3)[0])
    assert np.isnan(resolve("normalizations", "borda")().normalize(lists)[row, 0])
    assert ranx["disjoint borda"][0, "q0", "i3"] == pytest.approx(0.5 - (2 - 1) / (2 * 4))
