"""The command line: ``recfusion fit | recommend | profile | evaluate | compare | ...``.

Results go to standard output, progress to standard error. What a user can mend is one red line and
exit status 2; ``RECFUSION_DEBUG=1`` shows the traceback. The commands are in `fusion.commands`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from fusion._version import __version__
from fusion.commands.asking import recommend
from fusion.commands.distilling import distill
from fusion.commands.fitting import fit
from fusion.commands.judging import compare, evaluate
from fusion.commands.looking import doctor, explain_config, schema
from fusion.commands.searching import tune
from fusion.commands.timing import profile
from fusion.errors import RecfusionError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Fuse fine-tuned large models and collaborative models into one recommender.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    fit,
    distill,
    recommend,
    profile,
    evaluate,
    compare,
    tune,
    explain_config,
    schema,
    doctor,
):
    app.command()(command)


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


if __name__ == "__main__":
    main()
