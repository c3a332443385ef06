"""``recfusion fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion.commands.common import (
    AsJson,
    ConfigFile,
    Quiet,
    read_config,
    read_data,
    show_json,
    show_pairs,
)

__all__ = ["fit"]


def fit(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="Folder for the fitted engine.")],
    workdir: Annotated[
        Path | None, typer.Option(help="Keep checkpoints here, to go on after an interruption.")
    ] = None,
    warm_up: Annotated[
        bool,
        typer.Option(
            "--warm-up", help="Also compute what the first requests would otherwise wait for."
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit an engine on the data that CONFIG names, and save it."""
    from fusion.persistence import check_target

    check_target(out)  # now, not after hours
    described = read_config(config)
    data = read_data(described, config, progress=not quiet)
    from fusion.engine import Engine

    engine = Engine.from_config(described)
    engine.fit(data, workdir=workdir, progress=not quiet)
    if warm_up:
        engine.warm_up(progress=not quiet)
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
        show_json(summary)
    else:
        show_pairs(summary)
