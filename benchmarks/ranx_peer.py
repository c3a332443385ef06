"""What ranx makes of the same columns: every fusion it has, tuned by its own optimiser.

ranx (Bassani and Romelli, "ranx.fuse: A Python Library for Metasearch", CIKM 2022) keeps runs as
dictionaries and tries the weights of a grid one after the other, so it is given the first `DEPTH`
items of each model, at most `TEACHING` queries to tune on, and the finest grid of weights that has
at most `GRID` points. What it tuned is then fused over the test columns and judged by this
project's metric and tie rule.

Normalisations: each of ranx's six for what it does not tune; the best `TRIED` of the untuned
relative for what it tunes. Condorcet takes ranx minutes for a few hundred queries, so it is left
out above `CONDORCET` test queries, and the weighted one, whose grid would take hours, always.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.normalizations.segments import ranks

__all__ = ["Peer", "ranx_peers"]

DEPTH, TEACHING, GRID, TRIED, CONDORCET = 100, 300, 300, 2, 700
NORMALIZATIONS = ("min-max", "max", "sum", "zmuv", "rank", "borda")
#: methods that merge scores, and so are tried with each normalisation
BY_SCORE = ("min", "max", "med", "sum", "anz", "mnz", "gmnz", "wsum", "wmnz", "mixed")
#: methods that look at ranks only
BY_RANK = (
    *("isr", "log_isr", "logn_isr", "rrf", "rbc", "bordafuse", "w_bordafuse", "condorcet"),
    *("posfuse", "probfuse", "segfuse", "slidefuse", "mapfuse", "bayesfuse"),
)
WEIGHTED = frozenset({"wsum", "wmnz", "mixed", "w_bordafuse"})
#: what is tuned -> what shows which normalisations are worth tuning with
RELATIVES = {"gmnz": "mnz", "wsum": "sum", "wmnz": "mnz", "mixed": "mnz"}
#: the methods whose parameters ranx does not learn
FIXED = frozenset({"min", "max", "med", "sum", "anz", "mnz", "isr", "log_isr", "bordafuse"}) | {
    "condorcet"
}


@dataclass(frozen=True)
class Peer:
    """One of ranx's fusions.

    Attributes:
        method: ranx's name.
        normalization: the best of `NORMALIZATIONS` on the teaching queries.
        taught: NDCG@10 on the teaching queries.
        values: (Q,) NDCG@10 of each test query.
        seconds: that tuning and fusing took.
    """

    method: str
    normalization: str
    taught: float
    values: npt.NDArray[np.float64]
    seconds: float


def ranx_peers(
    teaching: Candidates,
    teaching_targets: npt.NDArray[np.int32],
    test: Candidates,
    test_targets: npt.NDArray[np.int32],
) -> Iterator[Peer]:
    """Each of ranx's methods, tuned on ``teaching`` and judged on ``test``.

    Args:
        teaching: out-of-window columns; the first `TEACHING` queries whose target is among the
            candidates are used.
        teaching_targets: (Q,) item_index of each query's next item.
        test: the same models' columns on the test queries.
        test_targets: likewise.
    """
    inside = teaching.items == teaching_targets[teaching.rows]
    teaches = np.flatnonzero(np.bincount(teaching.rows[inside], minlength=teaching.n_queries))
    few = teaches[:: max(1, len(teaches) // TEACHING)][:TEACHING]
    taught, taught_targets = teaching.take(few), teaching_targets[few]
    qrels, runs, test_runs = _qrels(taught_targets), _runs(taught), _runs(test)
    ranked: dict[str, list[str]] = {}  # method -> normalisations, the best first

    def value_of(method: str, norm: str, params: Any) -> float:
        return float(_ndcg(_fuse(runs, norm, method, params), taught, taught_targets).mean())

    for method in (*BY_SCORE, *BY_RANK):
        if method == "condorcet" and test.n_queries > CONDORCET:
            continue
        start = time.perf_counter()
        norms: list[str] = ["min-max"]
        if method in BY_SCORE:
            norms = ranked[RELATIVES[method]][:TRIED] if method in RELATIVES else [*NORMALIZATIONS]
        tuned = {norm: _tuned(qrels, runs, norm, method) for norm in norms}
        values = {norm: value_of(method, norm, params) for norm, params in tuned.items()}
        ranked[method] = sorted(values, key=lambda norm: -values[norm])
        norm = ranked[method][0]
        fused = _fuse(test_runs, norm, method, tuned[norm])
        judged = _ndcg(fused, test, test_targets)
        yield Peer(method, norm, values[norm], judged, time.perf_counter() - start)


def _runs(candidates: Candidates) -> list[Any]:
    from ranx import Run

    place, rows, items = ranks(candidates), candidates.rows, candidates.items
    runs = []
    for m in range(len(candidates.models)):
        # every query must be there for ranx, also one that the model says nothing of
        run: dict[str, dict[str, float]] = {f"q{q}": {} for q in range(candidates.n_queries)}
        for row in np.flatnonzero(place[:, m] <= DEPTH):
            run[f"q{rows[row]}"][f"i{items[row]}"] = float(candidates.scores[row, m])
        for hits in run.values():
            if not hits:
                hits["nothing"] = 0.0
        runs.append(Run(run))
    return runs


def _qrels(targets: npt.NDArray[np.int32]) -> Any:
    from ranx import Qrels

    return Qrels({f"q{q}": {f"i{item}": 1} for q, item in enumerate(targets.tolist())})


def _tuned(qrels: Any, runs: list[Any], norm: str, method: str) -> Any:
    if method in FIXED:
        return None
    from ranx import optimize_fusion

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's, while ranx compiles
        more = {"step": _step(len(runs))} if method in WEIGHTED else {}
        return optimize_fusion(
            qrels=qrels, runs=runs, norm=norm, method=method, metric="ndcg@10", **more
        )


def _step(models: int) -> float:
    """The finest step of weights that sum to 1 with at most `GRID` combinations of them."""
    for parts in (10, 5, 4, 2):
        if comb(parts + models - 1, models - 1) <= GRID:
            return 1 / parts
    return 0.5


def _fuse(runs: list[Any], norm: str, method: str, params: Any) -> Any:
    from ranx import fuse

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fuse(runs=runs, norm=norm, method=method, params=params)


def _ndcg(
    run: Any, candidates: Candidates, targets: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """(Q,) NDCG@10 of the one target: 1 / log2(1 + rank), equal scores by item index."""
    out = np.zeros(candidates.n_queries)
    for name, hits in run.to_dict().items():
        target = int(targets[int(name[1:])])
        score = hits.get(f"i{target}")
        if score is None:
            continue
        better = sum(
            value > score or (value == score and item != "nothing" and int(item[1:]) < target)
            for item, value in hits.items()
        )
        if better < 10:
            out[int(name[1:])] = 1 / np.log2(better + 2)
    return out
