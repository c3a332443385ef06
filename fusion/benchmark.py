"""One benchmark run: fit on the past, ask for the future, one row a model and one a fusion mode."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion._version import __version__
from fusion.atomic import write_text
from fusion.candidates import Candidates
from fusion.config import EngineConfig, EvaluationConfig
from fusion.data.dataset import Dataset
from fusion.data.splits import Split, leave_last_out, temporal
from fusion.engine import Engine
from fusion.errors import ArtifactError
from fusion.evaluation.beyond_accuracy import category_matrix
from fusion.evaluation.fingerprint import Fingerprint
from fusion.evaluation.plot import save_plot
from fusion.evaluation.result import Kind, Result
from fusion.evaluation.table import Table
from fusion.kept_scores import score_all
from fusion.persistence import save_folder
from fusion.pool_storage import save_pool
from fusion.progress import stage, track
from fusion.protocols import Strategy
from fusion.topk import top_of

__all__ = ["Benchmark", "fitted_engine", "run_benchmark", "split_for"]

log = logging.getLogger(__name__)

#: requests timed for the latency column, after two that warm up
TIMED, WARM_UP = 15, 2


@dataclass(frozen=True)
class Benchmark:
    """What a run gave.

    Attributes:
        table: the rows side by side.
        report: what the split left out, machine, seconds: JSON values.
        engine: the fitted engine; ``None`` when every result was found from an earlier run.
    """

    table: Table
    report: Mapping[str, Any]
    engine: Engine | None

    def to_json(self) -> dict[str, Any]:
        """The table, every query's values, and the report."""
        return {
            "table": self.table.to_json(),
            "results": [result.to_json() for result in self.table.results],
            "report": dict(self.report),
        }


def split_for(evaluation: EvaluationConfig, data: Dataset, seed: int) -> Split:
    """The test split that ``evaluation`` describes; the engine may be fitted on its ``train``."""
    if evaluation.split == "temporal":
        split = temporal(
            data,
            fraction=evaluation.fraction,
            events_per_user=evaluation.events_per_user,
            seed=seed,
        )
    else:
        split = leave_last_out(data)
    users = np.unique(split.users)
    if evaluation.max_users is not None and len(users) > evaluation.max_users:
        rng = np.random.default_rng([seed, *b"test users"])
        chosen = rng.choice(users, evaluation.max_users, replace=False)
        split = split.take(np.flatnonzero(np.isin(split.users, chosen)))
    return split


def run_benchmark(
    config: EngineConfig,
    data: Dataset,
    *,
    split: str | None = None,
    fusions: Mapping[str, Mapping[str, Any]] | None = None,
    out: Path | None = None,
    progress: bool = False,
    timed: int = TIMED,
) -> Benchmark:
    """Fit ``config`` on the train side of ``data``; measure models and fusions on the test side.

    Args:
        config: the engine; its ``evaluation:`` section says how to measure.
        split: ``leave_last_out`` or ``temporal`` instead of the configured one. The stacking window
            is cut in the same way as the test.
        fusions: name -> what stands under ``fusion:``, instead of the configured ones; without any,
            the engine's own fusion.
        out: keep results, table, plot, the fitted engine and the models' scores here. What an
            earlier run of the same configuration and data left there is used, not computed again.
        progress: show stages and bars.
        timed: requests timed for the latency column; 0 = none.

    Raises:
        RecfusionError: whatever the data or the configuration cannot give.
    """
    evaluation = config.evaluation
    if split is not None:
        evaluation = evaluation.model_copy(update={"split": split})
    if config.stacking is not None and evaluation.split == "temporal":
        stacking = config.stacking.model_copy(
            update={"window": "temporal", "events": evaluation.events_per_user}
        )
        config = config.model_copy(update={"stacking": stacking})
    chosen = dict(fusions or evaluation.fusions or {str(config.fusion["mode"]): config.fusion})
    test = split_for(evaluation, data, config.seed)
    fingerprint = Fingerprint.of(data, test, config=config.hash)
    key = _key(fingerprint, chosen, evaluation.k, timed)
    kept = None if out is None else out / "cache" / f"{evaluation.split}-{key}.json"
    if kept is not None and kept.is_file():
        found = json.loads(kept.read_text("utf-8"))
        results = [Result.from_json(value) for value in found["results"]]
        run = Benchmark(_table(results, evaluation), {**found["report"], "cached": True}, None)
    else:
        run = _measure(config, data, evaluation, test, fingerprint, chosen, out, progress, timed)
    if out is not None:
        _write(out, evaluation.split, run, kept)
    return run


def _measure(
    config: EngineConfig,
    data: Dataset,
    evaluation: EvaluationConfig,
    test: Split,
    fingerprint: Fingerprint,
    fusions: Mapping[str, Mapping[str, Any]],
    out: Path | None,
    progress: bool,
    timed: int,
) -> Benchmark:
    started = time.perf_counter()
    key = f"{config.hash[:12]}-{test.train.fingerprint[:12]}"
    engine = fitted_engine(config, test.train, out=out, key=key, progress=progress)
    fitted = time.perf_counter()
    pool = engine.pool(test.queries)
    columns = None if out is None else out / "cache" / f"scores-{fingerprint.digest[:16]}"
    with stage(f"score {len(test.queries):,} test queries", show=progress):
        score_all(pool, columns, progress=progress)
    scored = time.perf_counter()
    features = _categories(data)
    metrics = [
        f"{name}@{evaluation.k}" for name in ("NDCG", "HR", "Recall", "Precision", "MRR", "MAP")
    ]
    rows: list[tuple[str, Kind, Mapping[str, Any]]] = [
        *((name, "model", {"mode": "single", "model": name}) for name in engine.models),
        *((name, "fusion", fusion) for name, fusion in fusions.items()),
    ]
    results = []
    for name, kind, fusion in track(rows, "measure", total=len(rows), show=progress):
        own = dict(fusion) == config.fusion
        strategy = engine.strategy if own else engine.learnt(fusion)
        top = top_of(strategy.fuse(pool), evaluation.k, explain=False).matrix(evaluation.k)
        results.append(
            Result.measure(
                name,
                kind,
                fingerprint,
                test,
                top,
                metrics=metrics,
                k=evaluation.k,
                features=features,
                latency_ms=_latency(engine, strategy, test, evaluation.k, timed),
                extra={"fusion": dict(fusion)},
            )
        )
    if columns is not None:
        save_folder(columns, lambda folder: save_pool(folder, pool.freeze()), meta={})
    report = {
        "split": dict(test.report),
        "data": dict(data.report),
        "union": {
            "candidates_per_query": float(pool.candidates().lengths.mean()),
            "targets_in_union": float(_in_union(pool.candidates(), test).mean()),
        },
        "seconds": {
            "fit": fitted - started,
            "score": scored - fitted,
            "measure": time.perf_counter() - scored,
        },
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
        },
        "config": config.to_dict(),
        "cached": False,
    }
    return Benchmark(_table(results, evaluation), report, engine)


def fitted_engine(
    config: EngineConfig, train: Dataset, *, out: Path | None, key: str, progress: bool = False
) -> Engine:
    """An engine fitted on ``train``, found in ``out`` if an earlier run left it there.

    Args:
        config: of the engine.
        train: what it may see.
        out: a folder; ``None`` = keep nothing.
        key: of everything that the fitted engine depends on.
        progress: show stages.
    """
    if out is None:
        return Engine.from_config(config).fit(train, progress=progress)
    folder = out / "cache" / f"engine-{key}"
    if folder.is_dir():
        try:
            return Engine.load(folder)
        except ArtifactError as error:
            log.warning("fitted again: %s", error)
    engine = Engine.from_config(config)
    engine.fit(train, workdir=out / "work", progress=progress)
    engine.save(folder)
    return engine


def _latency(
    engine: Engine, strategy: Strategy, test: Split, k: int, timed: int
) -> dict[str, float] | None:
    """Milliseconds of one `recommend`, one after the other; ``None`` without known users."""
    known = np.unique(
        test.users[test.train.offsets[test.users + 1] > test.train.offsets[test.users]]
    )
    if timed == 0 or len(known) == 0:
        return None
    rng = np.random.default_rng(0)
    users = rng.choice(known, min(timed + WARM_UP, len(known)), replace=False)
    spent = []
    with engine.using(strategy):
        for user in users:
            start = time.perf_counter()
            engine.recommend(test.train.users.ids[user], k)
            spent.append(1000 * (time.perf_counter() - start))
    measured = spent[WARM_UP:] or spent
    return {
        "p50": float(np.percentile(measured, 50)),
        "p95": float(np.percentile(measured, 95)),
        "requests": float(len(measured)),
    }


def _in_union(union: Candidates, test: Split) -> npt.NDArray[np.bool_]:
    """(Q,) bool: whether any retriever brought the target (one a query)."""
    hit = union.items == test.targets.values[union.rows]
    return np.bincount(union.rows, hit, minlength=len(test.queries)) > 0


def _categories(data: Dataset) -> npt.NDArray[np.bool_] | None:
    """(I, C) bool: the categories of each item, for the intra-list diversity."""
    lists = data.catalog.fields.get("categories")
    return None if lists is None else category_matrix(lists)


def _table(results: list[Result], evaluation: EvaluationConfig) -> Table:
    k = evaluation.k
    return Table(results, primary=f"NDCG@{k}", metrics=(f"NDCG@{k}", f"HR@{k}"), k=k)


def _key(fingerprint: Fingerprint, fusions: Mapping[str, Any], k: int, timed: int) -> str:
    what = json.dumps([fingerprint.digest, dict(fusions), k, timed, __version__], sort_keys=True)
    return sha256(what.encode()).hexdigest()[:16]


def _write(out: Path, split: str, run: Benchmark, kept: Path | None) -> None:
    text = json.dumps(run.to_json(), indent=1, allow_nan=False)
    targets = [out / f"{split}.json"]
    if kept is not None and not run.report["cached"]:
        targets.append(kept)
    for target in targets:
        write_text(target, text)
    write_text(out / f"{split}.md", run.table.markdown())
    save_plot(run.table, out / f"{split}.png", title=f"{split.replace('_', '-')} split")
