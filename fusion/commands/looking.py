"""``recfusion explain-config``, ``schema`` and ``doctor``: they look, and change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion.commands.common import AsJson, ConfigFile, read_config, show, show_json

__all__ = ["doctor", "explain_config", "schema"]


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

    drawn = draw(read_config(config), form)
    if out is None:
        typer.echo(drawn)
    else:
        write_text(out, drawn)


def schema() -> None:
    """Print the JSON Schema of a configuration, for editors."""
    from fusion.config_schema import json_schema

    show_json(json_schema())


def doctor(as_json: AsJson = False) -> None:
    """Show what this machine has, and what is missing; exit status 1 if an engine cannot work."""
    from fusion.doctor import examine

    findings = examine()
    if as_json:
        show_json([finding.to_json() for finding in findings])
    else:
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable()
        for title in ("", "found", "what to do"):
            table.add_column(title, overflow="fold")  # a path must never be cut
        for finding in findings:
            style = "" if finding.ok else "red"
            table.add_row(*map(Text, (finding.what, finding.found, finding.do)), style=style)
        show(table)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
