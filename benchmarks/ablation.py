"""What each model is worth to a fused engine: all of them, all but one, one alone.

    python benchmarks/ablation.py ENGINE --data-set ml-1m --data FOLDER
    python benchmarks/ablation.py runs/ml-1m --split temporal --out runs/ml-1m

``ENGINE`` is a saved engine, fitted on the train side of the split, or the ``--out`` folder of a
benchmark, which keeps one. No model is fitted here. The test queries are scored once by all models,
or not at all where ``--out`` is that folder of a benchmark. Then the engine's fusion is learnt
again on its stored windows for each subset, from that subset's columns and from the candidates that
its retrievers brought, and judged on the same queries with the candidates that its retrievers
bring. Differences are to all models, with a paired bootstrap interval over users and a
Holm-corrected p-value.

A ranker's scores are those it gave in the whole engine: where a retriever is left out, the ranker's
``top`` might reach a few candidates further than it did. The subsets are compared on test queries:
read the table, do not choose by it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import DATA_SETS, SPLITS, source_of

from fusion.atomic import write_text
from fusion.benchmark import split_for
from fusion.config import EngineConfig
from fusion.data.load import load_data
from fusion.data.splits import Split
from fusion.engine import Engine
from fusion.errors import ConfigError, DataError, RecfusionError, explain
from fusion.evaluation.fingerprint import Fingerprint
from fusion.evaluation.metrics import per_query
from fusion.evaluation.significance import holm, mean_interval, paired_difference
from fusion.kept_scores import score_all
from fusion.persistence import open_folder
from fusion.pool import StoredPool
from fusion.progress import stage
from fusion.protocols import FitContext, Windows
from fusion.serving.subset import restricted_pool, restricted_window, subset_strategy
from fusion.topk import top_of

__all__ = ["LARGE", "ablate", "main", "subsets", "values_of"]

#: names of the large models in the shipped configurations
LARGE = ("dense", "bert", "gpt")
METRICS = ("NDCG@10", "HR@10")
ALL = "all"
#: where `fusion.benchmark` keeps the engine of a configuration and the events it was fitted on
KEPT = "cache/engine-*-{}"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, run, print; a mistake that the user can mend is exit status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("engine", type=Path, help="a saved engine")
    parser.add_argument("--data-set", choices=DATA_SETS, help="instead of the engine's `data:`")
    parser.add_argument("--data", type=Path, help="folder with the publisher's files")
    parser.add_argument("--split", choices=SPLITS, help="instead of the configured one")
    parser.add_argument("--max-users", type=int, help="judge so many users drawn at random")
    parser.add_argument("--large", nargs="+", default=list(LARGE), help="left out together")
    parser.add_argument(
        "--without", nargs="+", metavar="MODEL", help="leave out only these, each in turn"
    )
    parser.add_argument("--out", type=Path, help="folder for the tables and the scores")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    args = parser.parse_args(argv)
    try:
        found = run(args)
    except RecfusionError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(found, indent=1, allow_nan=False) if args.json else markdown(found))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The table of the engine, the data and the split that the arguments name."""
    config = config_of(args.engine)
    source: Any = source_of(args.data_set, args.data) if args.data_set else config.data
    if source is None:
        do = "pass --data-set"
        raise ConfigError(explain(str(args.engine), "a section `data:` in its config", "none", do))
    data = load_data(source, base=config.base_folder, progress=not args.quiet)
    evaluation = config.evaluation.model_copy(update={"split": args.split} if args.split else {})
    if args.max_users:
        evaluation = evaluation.model_copy(update={"max_users": args.max_users})
    split = split_for(evaluation, data, config.seed)
    engine = Engine.load(engine_in(args.engine, split))
    if split.train.fingerprint != engine.data.fingerprint:
        got = f"one fitted on {len(engine.data):,} other events"
        do = "name the data set and the split that it was fitted for"
        expected = f"an engine fitted on the {len(split.train):,} training events"
        raise DataError(explain(str(args.engine), expected, got, do))
    fingerprint = Fingerprint.of(data, split, config=config.hash)
    started = time.perf_counter()
    pool = scored(engine, split, args.out, fingerprint.digest[:16], progress=not args.quiet)
    spent = time.perf_counter() - started
    if args.without:
        _known(args.without, pool.models)
    rows = ablate(engine, pool, split, tuple(args.large), args.without, progress=not args.quiet)
    found = {
        "fingerprint": fingerprint.to_json(),
        "config": config.hash,
        "fusion": config.fusion,
        "seed": config.seed,
        "queries": len(split),
        "users": len(np.unique(split.users)),
        "seconds": {"score": spent, "fuse": time.perf_counter() - started - spent},
        "rows": rows,
    }
    if args.out is not None:
        name = f"ablation-{split.kind.replace('_', '-')}"
        write_text(args.out / f"{name}.json", json.dumps(found, indent=1, allow_nan=False))
        write_text(args.out / f"{name}.md", markdown(found))
    return found


def config_of(folder: Path) -> EngineConfig:
    """The configuration of the engine in ``folder``, or of one that a benchmark kept there."""
    kept = sorted(folder.glob(KEPT.format("*")))
    return EngineConfig.from_mapping(open_folder(kept[0] if kept else folder)["config"])


def engine_in(folder: Path, split: Split) -> Path:
    """``folder``, or the engine that a benchmark kept there of the train side of ``split``.

    Raises:
        DataError: a benchmark's folder with no such engine, or with several.
    """
    if not any(folder.glob(KEPT.format("*"))):
        return folder
    kept = sorted(folder.glob(KEPT.format(split.train.fingerprint[:12])))
    if len(kept) != 1:
        got, do = f"{len(kept)} of them", "name the engine's own folder, or the right --split"
        raise DataError(explain(str(folder), "one engine fitted for this split", got, do))
    return kept[0]


def scored(
    engine: Engine, split: Split, out: Path | None, key: str, *, progress: bool
) -> StoredPool:
    """Every model's scores of the test queries, from ``out`` if an earlier run left them there.

    Under the name that `fusion.benchmark` gives them, so that what it scored is not scored again.
    """
    folder = None if out is None else out / "cache" / f"scores-{key}"
    with stage(f"score {len(split):,} test queries", show=progress):
        pool = engine.pool(split.queries)
        score_all(pool, folder, progress=progress)
    return pool.freeze()


def _known(names: Sequence[str], models: Sequence[str]) -> None:
    strange = [name for name in names if name not in models]
    if strange:
        expected, do = f"some of {', '.join(models)}", "name models of the engine"
        raise ConfigError(explain("--without", expected, ", ".join(strange), do))


def subsets(
    models: Sequence[str],
    retrievers: Sequence[str],
    large: Sequence[str] = LARGE,
    without: Sequence[str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """What is compared with all models: label -> the models that are left, retrievers first.

    A ranker alone has no candidates of its own and ranks those of all retrievers, so for it all
    retrievers' candidates stay, see `ablate`.

    Args:
        models: of the engine.
        retrievers: those of them that bring candidates.
        large: models that are left out together as well.
        without: those that are left out one at a time; ``None`` = each.

    >>> subsets(["ease", "dense", "bert"], ["ease", "dense"])
    ... # doctest: +NORMALIZE_WHITESPACE
    {'without ease': ('dense', 'bert'), 'without dense': ('ease', 'bert'),
     'without bert': ('ease', 'dense'), 'without dense, bert': ('ease',),
     'ease alone': ('ease',), 'dense alone': ('dense',), 'bert alone': ('bert',)}
    """
    out: dict[str, tuple[str, ...]] = {}
    gone: list[tuple[str, ...]] = [(name,) for name in models if without is None or name in without]
    together = tuple(name for name in models if name in large)
    if len(together) > 1:
        gone.append(together)
    for names in gone:
        left = tuple(name for name in models if name not in names)
        if any(name in retrievers for name in left):
            out[f"without {', '.join(names)}"] = left
    return out | {f"{name} alone": (name,) for name in models}


def ablate(
    engine: Engine,
    pool: StoredPool,
    split: Split,
    large: Sequence[str] = LARGE,
    without: Sequence[str] | None = None,
    *,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """One row for all models and one a subset.

    Args:
        engine: fitted; its windows teach every fusion anew.
        pool: every model's scores of the queries of ``split``.
        split: the test.
        large: models to be left out together as well.
        without: models to be left out one at a time; ``None`` = each.
        progress: show stages.

    Returns:
        ``name``, ``models``, each metric's mean and its interval, and, but for the first row,
        ``difference`` (to all models, NDCG@10) and ``p_holm``.
    """
    values = {ALL: values_of(engine, pool, engine.windows, split, pool.models)}
    kept = {ALL: pool.models}
    for name, left in subsets(pool.models, pool.union.models, large, without).items():
        with stage(name, show=progress):
            values[name], kept[name] = values_of(engine, pool, engine.windows, split, left), left
    first = METRICS[0]
    gaps = {
        name: paired_difference(own[first], values[ALL][first], split.users)
        for name, own in values.items()
        if name != ALL
    }
    corrected = dict(zip(gaps, holm([gap.p for gap in gaps.values()]), strict=True))
    rows = []
    for name, own in values.items():
        row: dict[str, Any] = {"name": name, "models": list(kept[name])}
        for metric in METRICS:
            one = mean_interval(own[metric], split.users)
            row[metric] = {"mean": one.mean, "low": one.low, "high": one.high}
        if name in gaps:
            row |= {"difference": asdict(gaps[name]), "p_holm": corrected[name]}
        rows.append(row)
    return rows


def values_of(
    engine: Engine,
    pool: StoredPool,
    windows: Windows,
    split: Split,
    models: Sequence[str],
) -> Mapping[str, npt.NDArray[np.float64]]:
    """Metric -> (Q,) of the engine's fusion over ``models`` only, learnt anew on ``windows``.

    One model alone needs no fusion: a retriever's own list, a ranker's order of all candidates.
    """
    if len(models) == 1:
        strategy = engine.config.build_strategy({"mode": "single", "model": models[0]})
        own = restricted_pool(pool, models) if models[0] in pool.union.models else pool
    else:
        strategy, _ = subset_strategy(engine.config, pool.models, models)
        own = restricted_pool(pool, models)
        if strategy.learns:
            taught = tuple(restricted_window(window, models) for window in windows)
            context = FitContext(engine.config.seed, catalog=engine.data.catalog)
            strategy.fit(taught, context)
    top = top_of(strategy.fuse(own), 10, explain=False).matrix(10)
    return per_query(top, split.targets, METRICS)


def markdown(found: Mapping[str, Any]) -> str:
    """A GitHub table."""
    lines = [
        f"| | {METRICS[0]} | {METRICS[1]} | Δ to all [95 %] | p |",
        "| :-- | --: | --: | --: | --: |",
    ]
    for row in found["rows"]:
        gap, told = row.get("difference"), "– | –"
        if gap is not None:
            told = f"{gap['mean']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}] "
            told += f"| {row['p_holm']:.4f}"
        means = " | ".join(f"{row[metric]['mean']:.4f}" for metric in METRICS)
        lines.append(f"| {row['name']} | {means} | {told} |")
    note = (
        f"{found['queries']:,} queries of {found['users']:,} users; "
        f"{found['fingerprint']['split']}. Each fusion is learnt anew on the stored windows. Δ: "
        "NDCG@10 less that of all models, with its 95 % bootstrap interval over users; p: "
        "randomisation test, Holm-corrected for the rows."
    )
    return "\n".join(lines) + f"\n\n{note}\n"


if __name__ == "__main__":
    main()
