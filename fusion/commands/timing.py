"""``recfusion profile``: where the time of requests goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion.commands.common import EngineFolder, Quiet, show, show_json
from fusion.errors import ArtifactError, explain

__all__ = ["profile"]


def profile(
    folder: EngineFolder,
    users: Annotated[
        int, typer.Option(min=1, help="How many users of the data ask; the engine's seed draws.")
    ] = 100,
    repeat: Annotated[
        int,
        typer.Option(
            min=1, help="How often each asks in a row: from the second time on caches know them."
        ),
    ] = 1,
    k: Annotated[int, typer.Option("-k", "--k", help="How many items they ask for.")] = 10,
    deadline_ms: Annotated[
        float | None, typer.Option(help="Milliseconds that an answer may take.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write JSON to FILE; - prints it instead of the table."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the stages (.png or .svg).")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Show where the time of a saved engine's requests goes, stage by stage."""
    from fusion.engine import Engine
    from fusion.profiling.measure import profile_engine
    from fusion.profiling.plot import checked_picture, save_profile_plot

    if plot is not None:
        checked_picture(plot)  # now, not after the requests
    engine = Engine.load(folder)
    found = profile_engine(
        engine, users=users, repeat=repeat, k=k, deadline_ms=deadline_ms, progress=not quiet
    )
    if json_file == Path("-"):
        show_json(found.to_json())
    else:
        show(found.rich())
        for line in found.notes():
            typer.echo(line)
        if json_file is not None:
            _write_json(json_file, found.to_json())
    if plot is not None:
        save_profile_plot(found, plot)


def _write_json(path: Path, value: object) -> None:
    import json

    from fusion.atomic import write_text

    try:
        write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise ArtifactError(
            explain(f"profile, {path}", "a file that can be written", str(error))
        ) from error
