"""``recfusion tune``: search for hyper-parameters of a whole engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from fusion.commands.common import (
    AsJson,
    ConfigFile,
    Quiet,
    read_config,
    read_data,
    show,
    show_json,
)
from fusion.errors import ConfigError, explain

__all__ = ["tune"]

_PRUNERS = ("median", "hyperband", "none")


def tune(
    config: ConfigFile,
    space: Annotated[
        Path, typer.Option(help="YAML file: dotted paths into CONFIG, and what may stand there.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for best.yaml, trials.json, the journal and fitted models; the same "
            "command goes on from what is there."
        ),
    ],
    metric: Annotated[str, typer.Option(help="What to maximise, on validation events.")] = (
        "NDCG@10"
    ),
    trials: Annotated[int, typer.Option(min=1, help="Configurations to try in all.")] = 50,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial after so many seconds.")
    ] = None,
    windows: Annotated[
        int, typer.Option(min=1, help="Validation windows, one before the other.")
    ] = 1,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Queries of a window, at random; by default all.")
    ] = None,
    pruner: Annotated[
        str,
        typer.Option(metavar="median|hyperband|none", help="Who gives up trials that begin badly."),
    ] = "median",
    cache_gib: Annotated[
        float, typer.Option(min=0, help="GiB of fitted models to keep between trials.")
    ] = 10.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search for better settings of CONFIG, on validation events only."""
    if pruner not in _PRUNERS:
        raise ConfigError(explain("--pruner", " or ".join(_PRUNERS), repr(pruner)))
    from fusion.search.running import search
    from fusion.search.space import SearchSpace
    from fusion.search.studying import Pruner

    described = read_config(config)
    checked = SearchSpace.read(space, described)  # now, not after the data was read
    data = read_data(described, config, progress=not quiet)
    found = search(
        described,
        data,
        checked,
        metric=metric,
        trials=trials,
        timeout=timeout,
        windows=windows,
        max_queries=queries,
        pruner=cast(Pruner, pruner),
        out=out,
        cache_gib=cache_gib,
        progress=not quiet,
    )
    if as_json:
        show_json(found.to_json())
    else:
        show(found.rich())
        show(f"written to {out / 'best.yaml'}")
