"""What the benchmark scripts share: arguments, one run a split, the files they leave."""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusion.benchmark import run_benchmark
from fusion.config import EngineConfig
from fusion.data.load import load_data
from fusion.errors import ConfigError, RecfusionError, explain

SPLITS = ("leave_last_out", "temporal")


def arguments(description: str, out: str) -> argparse.ArgumentParser:
    """The options every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", type=Path, help="YAML file of the engine")
    parser.add_argument("--data", type=Path, help="folder with the publisher's files")
    parser.add_argument("--split", choices=[*SPLITS, "both"], help="instead of the configured one")
    parser.add_argument("--max-users", type=int, help="judge so many users drawn at random")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for results and cache")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parser


def main(
    parser: argparse.ArgumentParser, source: Mapping[str, Any], args: argparse.Namespace
) -> None:
    """Run and print; a mistake that the user can mend is one line and exit status 2.

    Args:
        source: a ``data:`` section, over whatever the YAML says there.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        _run(source, args)
    except RecfusionError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(2)


def _run(source: Mapping[str, Any], args: argparse.Namespace) -> None:
    started = time.perf_counter()
    config = EngineConfig.from_yaml(args.config)
    if source:
        config = EngineConfig.overlay(config, {"data": dict(source)})
    if config.data is None:
        raise ConfigError(
            explain(str(args.config), "a section `data:`", "none", "pass --data FOLDER")
        )
    if args.max_users:
        evaluation = {**config.evaluation.model_dump(), "max_users": args.max_users}
        config = EngineConfig.overlay(config, {"evaluation": evaluation})
    data = load_data(config.data, base=config.base_folder, progress=not args.quiet)
    names = SPLITS if args.split == "both" else (args.split or config.evaluation.split,)
    out: dict[str, Any] = {}
    for name in names:
        run = run_benchmark(config, data, split=name, out=args.out, progress=not args.quiet)
        out[name] = run.to_json()
        if not args.json:
            from rich.console import Console

            console = Console()
            console.rule(f"{data!r}, {name}")
            console.print(run.table.rich())
            seconds = {k: round(v) for k, v in run.report["seconds"].items()}
            console.print(
                f"[dim]{'found from an earlier run; it took' if run.report['cached'] else 'took'} "
                f"{seconds}; written to {args.out}/{name}.json, .md and .png[/]"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if args.json:
        print(json.dumps(out, indent=1, allow_nan=False))
    else:
        print(f"{time.perf_counter() - started:.0f} s in all, peak memory {peak:.1f} GiB")
