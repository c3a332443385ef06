"""The command line: ``recfusion fit | recommend | evaluate | compare | explain-config | ...``.

Results go to standard output, progress to standard error. What a user can mend is one red line and
exit status 2; ``RECFUSION_DEBUG=1`` shows the traceback. Everything heavy is imported inside the
commands, so that ``recfusion --help`` is quick.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion._version import __version__
from fusion.errors import ConfigError, DataError, RecfusionError, explain

if TYPE_CHECKING:
    from fusion.config import EngineConfig
    from fusion.data.dataset import Dataset
    from fusion.evaluation.result import Result
    from fusion.evaluation.table import Table
    from fusion.recommendation import Recommendations

__all__ = ["app", "main"]

app = typer.Typer(
    help="Fuse fine-tuned large models and collaborative models into one recommender.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the engine.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
SplitName = Annotated[
    str | None,
    typer.Option(
        metavar="leave_last_out|temporal", help="Instead of what the configuration's says."
    ),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line on ``arguments`` (default: those of the process); always exits."""
    try:
        app(args=None if arguments is None else list(arguments))
    except RecfusionError as error:
        if os.environ.get("RECFUSION_DEBUG") == "1":
            raise
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"recfusion {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def fit(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="Folder for the fitted engine.")],
    workdir: Annotated[
        Path | None, typer.Option(help="Keep checkpoints here, to go on after an interruption.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit an engine on the data that CONFIG names, and save it."""
    from fusion.persistence import check_target

    check_target(out)  # now, not after hours
    described = _config(config)
    data = _data(described, config, progress=not quiet)
    from fusion.engine import Engine

    engine = Engine.from_config(described)
    engine.fit(data, workdir=workdir, progress=not quiet)
    engine.save(out)
    summary = {
        "engine": str(out),
        "models": [*described.retrievers, *described.rankers],
        "fusion": described.fusion["mode"],
        "users": data.n_users,
        "items": data.n_items,
        "interactions": len(data),
        "config": described.hash,
    }
    if as_json:
        _print_json(summary)
    else:
        _print_pairs(summary)


@app.command()
def recommend(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A saved engine.")],
    user: Annotated[str | None, typer.Option(help="A user of the data it was fitted on.")] = None,
    history: Annotated[
        str | None, typer.Option(help="Item ids, oldest first, with commas between.")
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option(help="One more item of the history; may be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Allow items of the history.")
    ] = False,
    explain_scores: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show what each model gave to each score, how each model did, and what rules "
            "removed.",
        ),
    ] = False,
    deadline_ms: Annotated[
        float | None,
        typer.Option(help="Answer within so many milliseconds, by fewer models if need be."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recommend items to a user of a saved engine, or after a history."""
    items = [*filter(None, (history or "").split(",")), *(item or [])]
    asked_by_history = history is not None or item is not None
    if asked_by_history == (user is not None):
        raise DataError(
            explain("recommend", "--user, or --history and --item", "neither or both of them")
        )
    from fusion.engine import Engine

    engine = Engine.load(folder)
    found = engine.recommend(
        user,
        k=k,
        history=items if asked_by_history else None,
        exclude_seen=False if include_seen else None,
        deadline_ms=deadline_ms,
    )
    if as_json:
        _print_json(found.to_json() if explain_scores else [one.to_json() for one in found])
    else:
        _print_recommendations(found, explain_scores)


@app.command()
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

    described = _config(config)
    data = _data(described, config, progress=not quiet)
    run = run_benchmark(described, data, split=_split(split), out=out, progress=not quiet)
    if as_json:
        _print_json(run.to_json())
    else:
        _print_table(run.table)


@app.command()
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
        described = _config(files[0])
        if described.tournament is not None:
            _tournament(described, files[0], _split(split), out, as_json=as_json, quiet=quiet)
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

            described = _config(file)
            data = _data(described, file, progress=not quiet)
            table = run_benchmark(described, data, split=_split(split), progress=not quiet).table
            results, metric = list(table.results), table.primary
        else:
            results, metric = read_results(file)
        primary = primary or metric
        name = file.stem if file.stem not in sources else str(file)
        sources[name] = results
    table = side_by_side(sources, primary or "NDCG@10")
    if as_json:
        _print_json(table.to_json())
    else:
        _print_table(table)


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
    data = _data(config, file, progress=not quiet)
    result = run_tournament(config, data, out=out, progress=not quiet)
    if as_json:
        _print_json(result.to_json())
    else:
        _print(result.rich())


@app.command(name="explain-config")
def explain_config(
    config: ConfigFile,
    form: Annotated[
        str, typer.Option("--format", metavar="text|mermaid|svg", help="How to draw it.")
    ] = "text",
    out: Annotated[Path | None, typer.Option(help="Write the drawing to this file.")] = None,
) -> None:
    """Draw the tree of models and fusions that CONFIG describes; nothing is fitted."""
    from fusion.atomic import write_text
    from fusion.drawing import draw

    drawn = draw(_config(config), form)
    if out is None:
        typer.echo(drawn)
    else:
        write_text(out, drawn)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a configuration, for editors."""
    from fusion.config_schema import json_schema

    _print_json(json_schema())


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show what this machine has, and what is missing; exit status 1 if an engine cannot work."""
    from fusion.doctor import examine

    findings = examine()
    if as_json:
        _print_json([finding.to_json() for finding in findings])
    else:
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable()
        for title in ("", "found", "what to do"):
            table.add_column(title, overflow="fold")  # a path must never be cut
        for finding in findings:
            style = "" if finding.ok else "red"
            table.add_row(*map(Text, (finding.what, finding.found, finding.do)), style=style)
        _print(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _config(path: Path) -> EngineConfig:
    from fusion.config import EngineConfig

    return EngineConfig.from_yaml(path)


def _data(config: EngineConfig, path: Path, *, progress: bool) -> Dataset:
    if config.data is None:
        raise ConfigError(
            explain(str(path), "a section `data:`", "none", "say there where the data lies")
        )
    from fusion.data.load import load_data

    return load_data(config.data, base=config.base_folder, progress=progress)


def _split(name: str | None) -> str | None:
    names = ("leave_last_out", "temporal")
    if name is not None and name.replace("-", "_") not in names:
        raise ConfigError(explain("--split", " or ".join(names), repr(name)))
    return None if name is None else name.replace("-", "_")


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def _print_pairs(pairs: dict[str, Any]) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(show_header=False)
    for name, value in pairs.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        table.add_row(name, Text(f"{shown:,}" if isinstance(shown, int) else str(shown)))
    _print(table)


def _print_table(table: Table) -> None:
    _print(table.rich())


def _print_recommendations(found: Recommendations, explained: bool) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    parts = list(found[0].contributions) if explained and found else []
    table = RichTable("rank", "item", "title", "score", *parts)
    for one in found:
        given = [f"{one.contributions[part]:+.4f}" for part in parts]
        row = (str(one.rank), one.item_id, one.title, f"{one.score:.4f}", *given)
        table.add_row(*map(Text, row))
    _print(table)
    for name, run in found.models.items():
        if run.status != "ok":
            _print(Text(f"{name}: {run.status} after {run.ms:.0f} ms; {run.reason}"))
    for rule, items in found.removed.items() if explained else ():
        _print(Text(f"{rule}: removed {', '.join(items)}"))


if __name__ == "__main__":
    main()
