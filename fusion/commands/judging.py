"""``recfusion evaluate`` and ``recfusion compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.commands.common import (
    AsJson,
    ConfigFile,
    Quiet,
    SplitName,
    read_config,
    read_data,
    show,
    show_json,
    show_table,
    split_name,
)
from fusion.errors import ConfigError, explain

if TYPE_CHECKING:
    from fusion.config import EngineConfig
    from fusion.evaluation.result import Result

__all__ = ["compare", "evaluate"]


def evaluate(
    config: ConfigFile,
    split: SplitName = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep results, plot and fitted models in this folder.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure every model and every fusion of CONFIG on its data."""
    from fusion.benchmark import run_benchmark

    described = read_config(config)
    data = read_data(described, config, progress=not quiet)
    run = run_benchmark(described, data, split=split_name(split), out=out, progress=not quiet)
    if as_json:
        show_json(run.to_json())
    else:
        show_table(run.table)


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Results (what evaluate --json printed, or the JSON in its --out folder) or "
            "YAML files, which are evaluated first; or one YAML file with a `tournament:` section.",
        ),
    ],
    split: SplitName = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Tournament: keep report, plots, recommended.yaml and scores here."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Say which fusion to ship, by a tournament, or put results of one protocol into one table."""
    if len(files) == 1 and files[0].suffix in (".yaml", ".yml"):
        described = read_config(files[0])
        if described.tournament is not None:
            _tournament(described, files[0], split_name(split), out, as_json=as_json, quiet=quiet)
            return
    if out is not None:
        raise ConfigError(
            explain("--out", "one YAML file with a `tournament:` section", "other files")
        )
    from fusion.comparison import read_results, side_by_side

    sources: dict[str, list[Result]] = {}
    primary = None
    for file in files:
        if file.suffix in (".yaml", ".yml"):
            from fusion.benchmark import run_benchmark

            described = read_config(file)
            data = read_data(described, file, progress=not quiet)
            table = run_benchmark(
                described, data, split=split_name(split), progress=not quiet
            ).table
            results, metric = list(table.results), table.primary
        else:
            results, metric = read_results(file)
        primary = primary or metric
        name = file.stem if file.stem not in sources else str(file)
        sources[name] = results
    table = side_by_side(sources, primary or "NDCG@10")
    if as_json:
        show_json(table.to_json())
    else:
        show_table(table)


def _tournament(
    config: EngineConfig,
    file: Path,
    split: str | None,
    out: Path | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from fusion.tournament import run_tournament

    if split is not None:
        config = config.model_copy(
            update={"evaluation": config.evaluation.model_copy(update={"split": split})}
        )
    data = read_data(config, file, progress=not quiet)
    result = run_tournament(config, data, out=out, progress=not quiet)
    if as_json:
        show_json(result.to_json())
    else:
        show(result.rich())
