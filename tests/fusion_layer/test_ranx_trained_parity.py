"""The methods that learn, against ranx: its training and its fusion on the same lists and labels.

As in ``test_ranx_parity.py`` one process of its own runs ranx uncompiled. The page
``docs/explanation/trained-methods.md`` gives the reasons for the differences pinned here.
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
from pools import candidates_of

from fusion.candidates import Candidates, Missing
from fusion.methods.total import fused_scores
from fusion.protocols import Method
from fusion.registry import resolve

GONE = Missing.NOT_RETRIEVED
Fusion = dict[tuple[str, str], float]
Lists = tuple[Candidates, npt.NDArray[np.float32]]

RANX = """
import json, sys
from numba.typed import List
from ranx import Qrels, Run, fuse
import ranx.fusion
lists, jobs = json.load(sys.stdin)
lists = {name: ([Run(run) for run in runs], Qrels(q)) for name, (runs, q) in lists.items()}
names = {"bayesfuse": "log_odds", "mapfuse": "map_scores"}
out = []
for method, norm, past, now, training, params in jobs:
    runs, qrels = lists[past]
    learnt = getattr(ranx.fusion, method + "_train")(qrels, runs, *training)
    learnt = learnt if method == "mapfuse" else List(learnt)
    params[names.get(method, "probs")] = learnt
    try:
        fused = fuse(lists[now][0], norm=norm, method=method, params=params).to_dict()
        scores = {q: {i: float(s) for i, s in hits.items()} for q, hits in fused.items()}
    except IndexError:
        scores = None
    out.append(scores)
json.dump(out, sys.stdout)
"""
#: ours, its settings; ranx's name, its normalisation, what it trains with, what it fuses with
METHODS: dict[str, tuple[str, dict[str, Any], str, str | None, list[Any], dict[str, Any]]] = {
    "pos_fuse": ("pos_fuse", {}, "posfuse", None, [], {}),
    "prob_fuse": ("prob_fuse", {"n_segments": 25}, "probfuse", None, [25], {}),
    "prob_fuse_3": ("prob_fuse", {"n_segments": 3}, "probfuse", None, [3], {}),
    "seg_fuse": ("seg_fuse", {}, "segfuse", "min-max", [], {}),
    "slide_fuse": ("slide_fuse", {"window": 5}, "slidefuse", None, [], {"w": 5}),
    "slide_fuse_1": ("slide_fuse", {"window": 1}, "slidefuse", None, [], {"w": 1}),
    "slide_fuse_0": ("slide_fuse", {"window": 0}, "slidefuse", None, [], {"w": 0}),
    "map_fuse": ("map_fuse", {}, "mapfuse", None, [], {}),
    "bayes_fuse": ("bayes_fuse", {}, "bayesfuse", None, [], {}),
}


def random_lists(seed: int, longest: int) -> Lists:
    """30 queries; each model lists 2 to ``longest`` of 40 items; the first query's lists are full.

    One to three items of a query are relevant; in every fifth query none that anybody listed.
    """
    rng = np.random.default_rng(seed)
    lists: list[dict[int, list[Any]]] = []
    labels: list[float] = []
    for q in range(30):
        query: dict[int, list[Any]] = {}
        for m in range(3):
            n = longest if q == 0 else int(rng.integers(2, longest + 1))
            for item in rng.choice(40, n, replace=False):
                query.setdefault(int(item), [GONE] * 3)[m] = float(np.float32(rng.normal()))
        lists.append(query)
        found = np.zeros(len(query))
        if q % 5:
            found[rng.choice(len(query), rng.integers(1, 4), replace=False)] = 1
        labels += found.tolist()
    return candidates_of(lists), np.array(labels, np.float32)


def hand(*queries: dict[int, tuple[Any, ...]], relevant: set[tuple[int, int]]) -> Lists:
    """Lists written out, and ``(query, item)`` that are relevant."""
    candidates = candidates_of(queries)
    pairs = zip(candidates.rows.tolist(), candidates.items.tolist(), strict=True)
    return candidates, np.array([pair in relevant for pair in pairs], np.float32)


LISTS: dict[str, Lists] = {
    "past": random_lists(0, 20),
    "now": random_lists(1, 15),
    "degenerate": hand(
        {1: (2, GONE, GONE), 2: (1, GONE, GONE), 3: (GONE, 2, GONE), 4: (GONE, 1, GONE)}
        | {5: (GONE, GONE, 2), 6: (GONE, GONE, 1)},  # disjoint lists
        {1: (5, 5, 1), 2: (5, 4, 2), 3: (4, 4, 2), 4: (4, 5, 1)},  # ties, in item order
        {1: (-5, -1e6, 1e-6), 2: (-7, -2e6, 2e-6), 3: (-6, -3e6, 5e-6)},  # any scale
        relevant={(0, 2), (0, 3), (1, 1), (1, 4), (2, 2)},
    ),
    "flat": hand(
        {7: (3, 1, 2)},  # one item
        {1: (4, 1, 1), 2: (4, 1, GONE), 3: (4, 1, GONE)},  # constant scores
        relevant={(0, 7), (1, 2)},
    ),
    "one": hand({7: (3, 1, 2)}, relevant={(0, 7)}),
    "two": hand({1: (3, 1, 2), 2: (2, 0, 1)}, relevant={(0, 1), (0, 2)}),
    "long": hand({i: (-i, -i, -i) for i in range(1100)}, relevant={(0, 3)}),
    "seldom": hand(
        {i: (-i, -i, -i) for i in range(100)},
        *({i: (-i, -i, -i) for i in range(5)} for _ in range(19)),
        relevant={(0, 40)},
    ),
    "perfect": hand({i: (-i, -i, -i) for i in range(7)}, relevant={(0, i) for i in range(5)}),
}
JOBS = [
    *((name, past, now) for name in METHODS for past, now in [("past", "past"), ("past", "now")]),
    *((name, past, "degenerate") for name in METHODS for past in ("past", "degenerate")),
    *((name, past, "flat") for name in METHODS for past in ("past", "flat")),
    *((name, "two", "past") for name in METHODS if name != "bayes_fuse"),
    *(("bayes_fuse", past, past) for past in ("seldom", "perfect", "long")),
]


def told(lists: Lists) -> tuple[list[Any], dict[str, dict[str, int]]]:
    """One run a model, query -> item -> score, items in their order; and qrels.

    A query without a relevant candidate has a relevant item that nobody listed.
    """
    candidates, labels = lists
    rows, items = candidates.rows, candidates.items
    runs = []
    for column in candidates.scores.T:
        run: dict[str, dict[str, float]] = {}
        for row in np.flatnonzero(~np.isnan(column)):
            run.setdefault(f"q{rows[row]}", {})[f"i{items[row]}"] = float(column[row])
        runs.append(run)
    qrels: dict[str, dict[str, int]] = {f"q{q}": {} for q in range(candidates.n_queries)}
    for row in np.flatnonzero(labels):
        qrels[f"q{rows[row]}"][f"i{items[row]}"] = 1
    return runs, {q: found or {"nowhere": 1} for q, found in qrels.items()}


@pytest.fixture(scope="module")
def ranx() -> dict[Any, Any]:
    """Everything by ranx: ``(method, trained on, fused)`` -> scores, ``None`` for an IndexError."""
    jobs = [[*METHODS[name][2:4], past, now, *METHODS[name][4:]] for name, past, now in JOBS]
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps([{name: told(lists) for name, lists in LISTS.items()}, jobs]),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    flat = [
        one and {(q, i): s for q, hits in one.items() for i, s in hits.items()} for one in found
    ]
    return dict(zip(JOBS, flat, strict=True))


def ours(name: str, past: str, now: str, **settings: Any) -> Fusion:
    kind, own, *_ = METHODS[name]
    method = resolve("methods", kind)({**own, **settings})
    assert isinstance(method, Method)
    method.fit(*LISTS[past])
    candidates = LISTS[now][0]
    scores = fused_scores(method, candidates, np.ones(3))
    keys = zip(candidates.rows.tolist(), candidates.items.tolist(), strict=True)
    return {(f"q{q}", f"i{i}"): s for (q, i), s in zip(keys, scores.tolist(), strict=True)}


@pytest.mark.parametrize(
    ("name", "past", "now"),
    [
        job
        for job in JOBS
        if job[1] in ("past", job[2]) and job[2] in ("past", "now", "degenerate", "flat")
        if (job[0], job[2]) != ("seg_fuse", "flat")  # a difference on purpose, below
    ],
)
def test_the_same_scores(ranx: Any, name: str, past: str, now: str) -> None:
    found = ours(name, past, now)
    assert len(set(found.values())) > 1
    assert found == pytest.approx(ranx[name, past, now], rel=1e-9, abs=1e-12)


def test_a_constant_list_is_at_its_best_with_us_and_at_its_worst_with_ranx(ranx: Any) -> None:
    """Min-max makes equal scores 1 with us and 0 with ranx: 1 + 1 against 1 + 0."""
    mine, his = ours("seg_fuse", "flat", "flat"), ranx["seg_fuse", "flat", "flat"]
    assert mine == pytest.approx({key: 2 * score for key, score in his.items()})
    assert mine["q0", "i7"] > 0


@pytest.mark.parametrize("name", ["pos_fuse", "slide_fuse_0"])
def test_a_place_deeper_than_any_seen_is_worth_the_least_with_us_and_0_with_ranx(
    ranx: Any, name: str
) -> None:
    """Both places seen were right each time; so ours takes every place for as good as they."""
    mine, his = ours(name, "two", "past"), ranx[name, "two", "past"]
    assert min(his.values()) == 0
    assert min(mine.values()) == 1
    scored = ~np.isnan(LISTS["past"][0].scores)
    assert sorted(mine.values()) == sorted(scored.sum(axis=1).tolist())


def test_a_part_never_seen_is_worth_the_least_with_us_and_0_with_ranx(ranx: Any) -> None:
    """Lists of two fill two of 25 parts."""
    mine, his = ours("prob_fuse", "two", "past"), ranx["prob_fuse", "two", "past"]
    assert min(his.values()) == 0
    assert min(mine.values()) == pytest.approx(1 / 20)  # the deepest of 20 places, 1 / k
    deeper = [key for key in mine if mine[key] != pytest.approx(his[key])]
    assert deeper
    assert all(mine[key] > his[key] for key in deeper)


def test_a_segment_seldom_right_is_not_below_one_never_right_with_us(ranx: Any) -> None:
    """One hit in 20 lists of 70 places is less than ranx's 0.001 for no hit at all."""
    his = ranx["bayes_fuse", "seldom", "seldom"]
    assert his["q0", "i40"] == pytest.approx(3 * np.log((1 / 1400) / (1399 / 1400)))
    assert his["q0", "i4"] == pytest.approx(3 * np.log(0.001 / 0.999))
    assert his["q0", "i40"] < his["q0", "i4"]
    mine = ours("bayes_fuse", "seldom", "seldom")
    assert mine["q0", "i40"] == mine["q0", "i4"] == pytest.approx(3 * np.log(0.001 / 0.999))
    deeper = ours("bayes_fuse", "seldom", "seldom", floor=1e-5)
    assert deeper["q0", "i40"] > deeper["q0", "i4"]


def test_a_segment_always_right_has_odds_of_999_with_us_and_1000_with_ranx(ranx: Any) -> None:
    mine, his = ours("bayes_fuse", "perfect", "perfect"), ranx["bayes_fuse", "perfect", "perfect"]
    assert mine["q0", "i0"] == pytest.approx(3 * np.log(0.999 / 0.001))
    assert his["q0", "i0"] == pytest.approx(3 * np.log(1 / 0.001))


def test_a_list_beyond_the_last_segment_has_a_score_with_us_and_an_error_with_ranx(
    ranx: Any,
) -> None:
    assert ranx["bayes_fuse", "long", "long"] is None
    assert np.isfinite(list(ours("bayes_fuse", "long", "long").values())).all()
