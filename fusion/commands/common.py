"""What several commands need: their options, reading, and printing.

Everything heavy is imported inside the functions, so that ``recfusion --help`` is quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion.errors import ConfigError, explain

if TYPE_CHECKING:
    from fusion.config import EngineConfig
    from fusion.data.dataset import Dataset
    from fusion.evaluation.table import Table

__all__ = [
    "AsJson",
    "ConfigFile",
    "EngineFolder",
    "Quiet",
    "SplitName",
    "read_config",
    "read_data",
    "show",
    "show_json",
    "show_pairs",
    "show_table",
    "split_name",
]

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of the engine.")]
EngineFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A saved engine.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]
SplitName = Annotated[
    str | None,
    typer.Option(
        metavar="leave_last_out|temporal", help="Instead of what the configuration's says."
    ),
]


def read_config(path: Path) -> EngineConfig:
    """The configuration in the YAML file ``path``."""
    from fusion.config import EngineConfig

    return EngineConfig.from_yaml(path)


def read_data(config: EngineConfig, path: Path, *, progress: bool) -> Dataset:
    """The data that ``config``, read from ``path``, names.

    Raises:
        ConfigError: it names none.
    """
    if config.data is None:
        raise ConfigError(
            explain(str(path), "a section `data:`", "none", "say there where the data lies")
        )
    from fusion.data.load import load_data

    return load_data(config.data, base=config.base_folder, progress=progress)


def split_name(name: str | None) -> str | None:
    """``--split`` as the configuration writes it.

    Raises:
        ConfigError: no such split.
    """
    names = ("leave_last_out", "temporal")
    if name is not None and name.replace("-", "_") not in names:
        raise ConfigError(explain("--split", " or ".join(names), repr(name)))
    return None if name is None else name.replace("-", "_")


def show(renderable: Any) -> None:
    """Print what rich can draw."""
    from rich.console import Console

    Console().print(renderable)


def show_json(value: Any) -> None:
    """Print strict JSON."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def show_pairs(pairs: dict[str, Any]) -> None:
    """Print names and values as a table."""
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(show_header=False)
    for name, value in pairs.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        table.add_row(name, Text(f"{shown:,}" if isinstance(shown, int) else str(shown)))
    show(table)


def show_table(table: Table) -> None:
    """Print a table of results."""
    show(table.rich())
