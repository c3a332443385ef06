"""Measuring what a deadline needs, and keeping it with a saved engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fusion.artifacts import read_json, write_json
from fusion.progress import stage, track
from fusion.protocols import FitContext, Windows
from fusion.queries import Queries
from fusion.serving.answering import Models
from fusion.serving.costs import Costs
from fusion.serving.deadline import Calibration, Prefix, Step, calibrate
from fusion.serving.state import State
from fusion.topk import top_of

__all__ = ["load_calibration", "measured_calibration", "save_calibration"]

#: requests that are timed, after one that warms up
TIMED = 12


def measured_calibration(
    models: Models, state: State, windows: Windows, context: FitContext, depth: int = 10
) -> Calibration:
    """Time the models on a few queries, one at a time, then order them; see `calibrate`."""
    queries = _sample(models, windows, context)
    asker_of = state.config.serving.on_model_error
    with stage(f"time the models on {len(queries)} queries", show=context.progress):
        numbers = track(range(len(queries)), "time", total=len(queries), show=context.progress)
        for q in numbers:
            asker = models.asker(asker_of, measured=q > 0)
            start = time.perf_counter()
            pool = models.pool(queries.take(np.array([q])), depth, asker)
            fused = state.strategy.fuse(pool)
            top_of(fused, depth)
            spent = 1000 * (time.perf_counter() - start)
            if q > 0:
                rest = spent - sum(run.ms for run in asker.runs.values())
                models.costs.add("", "fuse", len(fused.scores), max(rest, 0.0))
    return calibrate(state.config, state.strategy, models.by_name, windows, models.costs, context)


def _sample(models: Models, windows: Windows, context: FitContext) -> Queries:
    """Out-of-window queries, or users of the data where there are none."""
    queries = windows[-1].pool.queries if windows else models.data.queries()
    known = np.flatnonzero(queries.history.lengths > 0)
    rng = context.rng("deadline timing")
    chosen = rng.choice(known, min(TIMED + 1, len(known)), replace=False)
    return queries.take(chosen)


def save_calibration(folder: Path, calibration: Calibration, costs: Costs) -> None:
    """``calibration.json``, and a folder for each prefix's fusion but the last (the engine's)."""
    write_json(
        folder / "calibration.json",
        {
            "chain": [
                {
                    "model": step.model,
                    "value": None if np.isnan(step.value) else step.value,
                    "ms": step.ms,
                }
                for step in calibration.chain
            ],
            "prefixes": [
                {"models": list(p.models), "fusion": dict(p.fusion)} for p in calibration.prefixes
            ],
            "costs": costs.to_json(),
        },
    )
    for at, prefix in enumerate(calibration.prefixes[:-1]):
        (folder / f"prefix-{at}").mkdir()
        prefix.strategy.save(folder / f"prefix-{at}")


def load_calibration(folder: Path, state: State) -> tuple[Calibration, Costs]:
    """What `save_calibration` wrote; ``state`` is the loaded engine's."""
    saved = read_json(folder / "calibration.json")
    chain = tuple(
        Step(s["model"], float("nan") if s["value"] is None else s["value"], s["ms"])
        for s in saved["chain"]
    )
    prefixes: Sequence[Prefix] = ()
    for at, one in enumerate(saved["prefixes"]):
        strategy = state.strategy
        if at + 1 < len(saved["prefixes"]):
            strategy = state.config.build_strategy(one["fusion"])
            strategy.load(folder / f"prefix-{at}")
        prefixes = (*prefixes, Prefix(tuple(one["models"]), one["fusion"], strategy))
    return Calibration(chain, tuple(prefixes)), Costs.from_json(saved["costs"])
