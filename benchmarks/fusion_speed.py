"""How fast the fusion methods are: beside ranx in one process, or streamed in bounded memory.

``fusion_speed.py`` fuses 2,000 queries x 200 candidates x 5 models by every method, warm, in turns
with ``ranx.fuse`` where ranx has the method, and prints medians, ratios and the peak of what ours
allocates. ranx compiles on first use (a minute or so) and is allowed all its threads; ours uses
one. ``--stream 1000000`` fuses so many queries x 100 candidates x 5 models by RRF, made and
forgotten chunk by chunk, and a tenth and a hundredth of them before, to show the growth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.errors import ConfigError
from fusion.methods.rrf import RRF
from fusion.methods.total import fused_scores
from fusion.protocols import Method
from fusion.registry import known, resolve

MODELS = ("a", "b", "c", "d", "e")
WEIGHTS = (1.0, 0.5, 2.0, 1.25, 0.75)
#: ours -> ranx's name, its normalisation, its parameters
PEERS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "bayes_fuse": ("bayesfuse", None, {}),
    "borda": ("bordafuse", None, {}),
    "comb_anz": ("anz", "min-max", {}),
    "comb_gmnz": ("gmnz", "min-max", {"gamma": 1.0}),
    "comb_max": ("max", "min-max", {}),
    "comb_med": ("med", "min-max", {}),
    "comb_min": ("min", "min-max", {}),
    "comb_mnz": ("mnz", "min-max", {}),
    "comb_sum": ("sum", "min-max", {}),
    "condorcet": ("condorcet", None, {}),
    "isr": ("isr", None, {}),
    "log_isr": ("log_isr", None, {}),
    "logn_isr": ("logn_isr", None, {"sigma": 0.01}),
    "map_fuse": ("mapfuse", None, {}),
    "mixed": ("mixed", "min-max", {"weights": WEIGHTS}),
    "pos_fuse": ("posfuse", None, {}),
    "prob_fuse": ("probfuse", None, {}),
    "rbc": ("rbc", None, {"phi": 0.9}),
    "rrf": ("rrf", None, {}),
    "seg_fuse": ("segfuse", None, {}),
    "slide_fuse": ("slidefuse", None, {"w": 5}),
    "weighted_borda": ("w_bordafuse", None, {"weights": WEIGHTS}),
    "weighted_condorcet": ("w_condorcet", None, {"weights": WEIGHTS}),
    "weighted_sum": ("wsum", "min-max", {"weights": WEIGHTS}),
    "wmnz": ("wmnz", "min-max", {"weights": WEIGHTS}),
}
#: ranx's methods that are trained -> the parameter that training gives
TRAINED = {
    "bayesfuse": "log_odds",
    "mapfuse": "map_scores",
    "posfuse": "probs",
    "probfuse": "probs",
    "segfuse": "probs",
    "slidefuse": "probs",
}
SEGMENTS = 20


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("methods", nargs="*", help="only these")
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--items", type=int, default=200, help="candidates a query")
    parser.add_argument("--repeat", type=int, default=5, help="timed runs of each; the median")
    parser.add_argument("--no-ranx", action="store_true", help="ours alone")
    parser.add_argument("--stream", type=int, metavar="QUERIES", help="RRF in chunks instead")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    if args.stream is not None:
        found = stream_growth(args.stream)
    else:
        chosen = args.methods or list(known("methods"))
        peers = {} if args.no_ranx else PEERS
        found = side_by_side(chosen, args.queries, args.items, args.repeat, peers)
    found["machine"] = machine()
    sys.stdout.write(json.dumps(found, indent=1) + "\n" if args.json else as_text(found))


def side_by_side(
    methods: list[str], queries: int, items: int, repeat: int, peers: dict[str, Any]
) -> dict[str, Any]:
    """Median seconds and peak bytes of each of ``methods``, and of its peer."""
    candidates, labels = made(np.random.default_rng(0), queries, items, full=True)
    theirs = Ranx(candidates, labels) if any(name in peers for name in methods) else None
    rows = []
    for name in methods:
        method = built(name, candidates, labels)
        if method is None:
            continue
        # weights where the peer has them: the same work on both sides
        weighted = "weights" in peers.get(name, ("", None, {}))[2]
        weights = np.array(WEIGHTS if weighted else np.ones(len(MODELS)))
        calls = [lambda m=method, w=weights: fused_scores(m, candidates, w)]
        if theirs is not None and name in peers:
            calls.append(theirs.call(*peers[name]))
        seconds = timed(calls, repeat)
        row = {"method": name, "seconds": seconds[0], "peak_bytes": peak(calls[0])}
        if len(seconds) > 1:
            row |= {"ranx_seconds": seconds[1], "ratio": seconds[1] / seconds[0]}
        rows.append(row)
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    return {
        "shape": [queries, items, len(MODELS)],
        "input_bytes": candidates.scores.nbytes,
        "repeat": repeat,
        "methods": rows,
        "median_ratio": statistics.median(ratios) if ratios else None,
        "lowest_ratio": min(ratios, default=None),
        "highest_peak": max((row["peak_bytes"] for row in rows), default=0)
        / candidates.scores.nbytes,
    }


def built(name: str, candidates: Candidates, labels: npt.NDArray[np.float32]) -> Method | None:
    """The method, fitted if it learns; ``None`` where the name cannot be imported."""
    try:
        method = resolve("methods", name)()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return None
    assert isinstance(method, Method)
    if method.learns:
        method.fit(candidates, labels)
    return method


def made(
    rng: np.random.Generator, queries: int, items: int, *, full: bool
) -> tuple[Candidates, npt.NDArray[np.float32]]:
    """Random candidates in item order, and labels: one target a query.

    Args:
        full: draw the items from a catalogue; else number them, which costs no time.
    """
    shape = (queries * items, len(MODELS))
    drawn = (
        [np.sort(rng.choice(100 * items, items, replace=False)) for _ in range(queries)]
        if full
        else [np.tile(np.arange(items), queries)]
    )
    offsets = np.arange(queries + 1, dtype=np.int64) * items
    labels = np.zeros(len(offsets[:-1]) * items, np.float32)
    labels[offsets[:-1] + rng.integers(0, items, queries)] = 1.0
    return Candidates(
        offsets,
        np.concatenate(drawn).astype(np.int32),
        rng.random(shape, np.float32),
        MODELS,
        np.zeros(shape, np.uint8),
    ), labels


class Ranx:
    """ranx on the same scores."""

    def __init__(self, candidates: Candidates, labels: npt.NDArray[np.float32]) -> None:
        from ranx import Qrels, Run

        names = [f"i{item}" for item in candidates.items.tolist()]
        bounds = candidates.offsets.tolist()
        spans = [slice(*pair) for pair in pairwise(bounds)]
        columns = [column.tolist() for column in candidates.scores.T.astype(np.float64)]
        self._runs = [
            Run(
                {
                    f"q{q}": dict(zip(names[span], column[span], strict=True))
                    for q, span in enumerate(spans)
                }
            )
            for column in columns
        ]
        hits = np.flatnonzero(labels)
        self._qrels = Qrels({f"q{q}": {names[hit]: 1} for q, hit in enumerate(hits.tolist())})

    def call(self, method: str, norm: str | None, params: dict[str, Any]) -> Callable[[], Any]:
        """One fusion; a trained method is trained first."""
        import ranx.fusion
        from numba.typed import List
        from ranx import fuse

        params = dict(params)
        if method in TRAINED:
            train = getattr(ranx.fusion, f"{method}_train")
            more = (SEGMENTS,) if method == "probfuse" else ()
            learnt = train(self._qrels, self._runs, *more)
            params[TRAINED[method]] = List(learnt) if method != "mapfuse" else learnt
        return lambda: fuse(self._runs, norm=norm, method=method, params=params)


def timed(calls: list[Callable[[], Any]], repeat: int) -> list[float]:
    """Median seconds of each of ``calls``, taken in turns after one run of each to warm up."""
    for call in calls:
        call()
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeat):
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def peak(call: Callable[[], Any]) -> int:
    """The most bytes that ``call`` held at once beside its input, its result included."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def stream_growth(largest: int) -> dict[str, Any]:
    """RRF over a hundredth, a tenth and all of ``largest`` queries."""
    sizes = sorted({max(1, largest // part) for part in (100, 10, 4, 2, 1)})
    stream(sizes[0])  # warm
    rows = [stream(size) for size in sizes]
    return {"shape": [largest, 100, len(MODELS)], "method": "rrf", "stream": rows}


def stream(queries: int, items: int = 100, chunk: int = 2_048) -> dict[str, Any]:
    """Seconds and resident memory of fusing ``queries`` queries, ``chunk`` at a time."""
    fusing, checksum = 0.0, 0.0
    start = time.perf_counter()
    method, weights = RRF(), np.ones(len(MODELS))
    for candidates in batches(queries, items, chunk):
        began = time.perf_counter()
        scores = fused_scores(method, candidates, weights)
        fusing += time.perf_counter() - began
        checksum += float(scores.sum())
    return {
        "queries": queries,
        "seconds": time.perf_counter() - start,
        "fusing_seconds": fusing,
        "microseconds_a_query": fusing / queries * 1e6,
        "resident_mib": resident(),
        "checksum": checksum,
    }


def batches(queries: int, items: int, chunk: int) -> Iterator[Candidates]:
    """Random candidates of ``queries`` queries."""
    rng = np.random.default_rng(0)
    for start in range(0, queries, chunk):
        yield made(rng, min(chunk, queries - start), items, full=False)[0]


def resident() -> float:
    """MiB of memory this process has now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}


def as_text(found: dict[str, Any]) -> str:
    """A table."""
    queries, items, models = found["shape"]
    lines = []
    if "stream" in found:
        lines.append(f"rrf, {items} candidates x {models} models, in chunks")
        lines.append(f"{'queries':>10} {'seconds':>8} {'fusing':>8} {'us/query':>9} {'RSS MiB':>8}")
        lines += [
            f"{row['queries']:>10,} {row['seconds']:>8.2f} {row['fusing_seconds']:>8.2f} "
            f"{row['microseconds_a_query']:>9.2f} {row['resident_mib']:>8.0f}"
            for row in found["stream"]
        ]
        return "\n".join(lines) + "\n"
    lines.append(f"{queries:,} queries x {items} candidates x {models} models, medians")
    lines.append(f"{'method':<20} {'ms':>8} {'ranx ms':>9} {'ratio':>7} {'peak/input':>11}")
    for row in found["methods"]:
        ranx, ratio = row.get("ranx_seconds"), row.get("ratio")
        lines.append(
            f"{row['method']:<20} {row['seconds'] * 1e3:>8.1f} "
            f"{'-' if ranx is None else f'{ranx * 1e3:.0f}':>9} "
            f"{'-' if ratio is None else f'{ratio:.0f}x':>7} "
            f"{row['peak_bytes'] / found['input_bytes']:>11.2f}"
        )
    if found["median_ratio"] is not None:
        lines.append(
            f"median ratio {found['median_ratio']:.0f}x, lowest {found['lowest_ratio']:.0f}x"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
