"""What the speed scripts share: calls in turns, the machine, JSON and a plot of every run.

A ratio is of medians of calls that took turns in one process, after one call of each to warm up: on
a machine whose load changes, both sides meet the same load.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fusion.atomic import write_text
from fusion.profiling.machine import resident_bytes, this_machine

PACKAGES = (
    *("recfusion", "torch", "transformers", "sentence-transformers", "faiss-cpu", "faiss-gpu"),
    *("openvino", "nncf", "torchao", "ranx", "numpy"),
)


def arguments(description: str | None, name: str) -> argparse.ArgumentParser:
    """The options every script has."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="timed turns; medians are printed")
    parser.add_argument("--out", type=Path, help=f"folder for {name}.json and {name}.png")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def in_turns(calls: Mapping[str, Callable[[], Any]], repeat: int) -> dict[str, list[float]]:
    """Seconds of each of ``calls``, ``repeat`` times, taken in turns."""
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeat):
        note(f"turn {turn + 1} of {repeat}")
        for name, call in calls.items():
            gc.collect()
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return taken


def ratio_row(
    work: str,
    against: str,
    taken: Mapping[str, Sequence[float]],
    ours: str,
    theirs: str,
    goal: float | None,
    **more: Any,
) -> dict[str, Any]:
    """One line of a table: how many times as fast ``ours`` is, by medians, and turn by turn."""
    pairs = [b / a for a, b in zip(taken[ours], taken[theirs], strict=True)]
    a, b = statistics.median(taken[ours]), statistics.median(taken[theirs])
    return {
        "work": work,
        "against": against,
        "ours_ms": 1e3 * a,
        "theirs_ms": 1e3 * b,
        "ratio": b / a,
        "lowest_ratio": min(pairs),
        "highest_ratio": max(pairs),
        "goal": goal,
        "turns": len(pairs),
        **more,
    }


def note(text: str) -> None:
    """A line on standard error that says what is going on, for who waits."""
    sys.stderr.write(f"\r{text:<78}"[:79])
    sys.stderr.flush()


def machine() -> dict[str, Any]:
    """What the numbers were taken on, with the measured peaks of matrix products."""
    import torch

    from rankers.device import measured_peak

    device = "cuda" if torch.cuda.is_available() else "cpu"
    able = torch.cpu.get_capabilities()
    packages = {}
    for package in PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        **this_machine().to_json(),
        "load_1min": os.getloadavg()[0],
        "amx_bf16": bool(able.get("amx_bf16")),
        "avx512_bf16": bool(able.get("avx512_bf16")),
        "peak_gflops": {
            dtype: round(measured_peak(device, dtype) / 1e9) for dtype in ("float32", "bfloat16")
        },
        "python": platform.python_version(),
        "packages": packages,
    }


def resident_mib() -> float:
    """MiB of memory this process has now; NaN where the system tells nothing."""
    held = resident_bytes()
    return float("nan") if held is None else held / 2**20


def finish(
    args: argparse.Namespace,
    name: str,
    found: dict[str, Any],
    text: str,
    plot: Callable[[Any], None] | None = None,
) -> None:
    """Print; and where a folder is given, leave ``name.json`` and ``name.png`` there.

    Args:
        plot: draws into a matplotlib figure; by default bars of the rows' ratios.
    """
    note("")
    sys.stderr.write("\r")
    found = {"benchmark": name, "machine": machine(), **found}
    whole = json.dumps(found, indent=1, allow_nan=False) + "\n"
    sys.stdout.write(whole if args.json else text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_text(args.out / f"{name}.json", whole)
        _draw(args.out / f"{name}.png", plot or (lambda figure: bars(figure, found["rows"])))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `ratio_row` as text."""
    lines = [f"{'work':<58} {'against':<30} {'ms':>9} {'theirs':>10} {'ratio':>7} {'goal':>6}"]
    for row in rows:
        goal = "-" if row["goal"] is None else f"{row['goal']:g}x"
        lines.append(
            f"{row['work']:<58} {row['against']:<30} {row['ours_ms']:>9.2f} "
            f"{row['theirs_ms']:>10.2f} {row['ratio']:>6.1f}x {goal:>6}"
        )
    return "\n".join(lines) + "\n"


def bars(figure: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Ratios as bars, with the span over the turns, and the goals as marks."""
    axes = figure.subplots()
    names = [f"{row['work']}\nagainst {row['against']}" for row in rows]
    ratios = [row["ratio"] for row in rows]
    spans = [
        [max(row["ratio"] - row["lowest_ratio"], 0) for row in rows],
        [max(row["highest_ratio"] - row["ratio"], 0) for row in rows],
    ]
    axes.barh(names, ratios, xerr=spans, color="#4878a8", ecolor="#333333")
    for at, row in enumerate(rows):
        if row["goal"] is not None:
            axes.plot([row["goal"]] * 2, [at - 0.4, at + 0.4], color="#c03028")
    axes.set_xlabel("times as fast (red: goal)")
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)


def curves(
    figure: Any,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
) -> None:
    """Growth curves on logarithmic axes."""
    axes = figure.subplots()
    for name, (xs, ys) in series.items():
        axes.plot(xs, ys, marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=7)


def _draw(path: Path, plot: Callable[[Any], None]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    plot(figure)
    aside = path.with_name(f".{path.name}")
    figure.savefig(aside, dpi=120, format="png")
    aside.replace(path)
