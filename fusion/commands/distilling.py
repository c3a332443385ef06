"""``recfusion distill``: a saved engine's small student, saved as an engine of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fusion.commands.common import AsJson, Quiet, show, show_json

__all__ = ["distill"]

#: what the table calls the numbers of a student's report
_ROWS = {
    "retrievers alone": "_retrievers",
    "student, untrained": "_before",
    "student, trained": "_student",
    "the engine": "",
}


def distill(
    folder: Annotated[Path, typer.Argument(metavar="ENGINE", help="A saved engine: the teacher.")],
    out: Annotated[Path, typer.Option(help="Folder for the student's engine.")],
    layers: Annotated[int, typer.Option(min=1, help="Layers of the student's encoder.")] = 3,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="shared|late", help="How history and item meet; late is the fastest to ask."
        ),
    ] = None,
    users: Annotated[
        int, typer.Option(min=3, help="Users of the engine's data to ask about.")
    ] = 300,
    cuts: Annotated[int, typer.Option(min=1, help="Moments of each user that trains.")] = 3,
    candidates: Annotated[
        int, typer.Option(min=2, help="Candidates that the student orders.")
    ] = 100,
    steps: Annotated[int | None, typer.Option(min=0, help="Optimizer steps at most.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the engine's.")] = None,
    workdir: Annotated[
        Path | None, typer.Option(help="Keep checkpoints here, to go on after an interruption.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Teach a small ranker what a saved engine says, and save it as a faster engine."""
    from fusion.persistence import check_target

    check_target(out)  # now, not after minutes
    from fusion.distillation import distill as teach
    from fusion.distillation import student_name
    from fusion.engine import Engine

    made = teach(
        Engine.load(folder),
        layers=layers,
        users=users,
        cuts=cuts,
        candidates=candidates,
        steps=steps,
        seed=seed,
        settings={} if mode is None else {"mode": mode},
        workdir=workdir,
        progress=not quiet,
    )
    made.save(out)
    name = student_name(made)
    model: Any = made.models[name]
    last = made.config.fusion["stages"][-1]
    summary = {
        "engine": str(out),
        "student": name,
        "layers": model.config.layers,
        "distilled_from": model.config.distilled_from,
        "models": last["models"],
        "weights": last["weights"],
        **model.report,
    }
    if as_json:
        show_json(summary)
    else:
        _show(summary)


def _show(summary: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("agreement with the teacher", "Kendall's tau", "overlap@10")
    for label, key in _ROWS.items():
        numbers = [summary.get(f"{measure}{key}") for measure in ("tau", "overlap")]
        table.add_row(label, *("" if n is None else f"{n:.3f}" for n in numbers))
    show(table)
    show(
        f"{summary['layers']} layers, {summary['parameters']:,.0f} parameters "
        f"(the teacher's rankers: {summary['teacher_parameters']:,.0f}); "
        f"{summary['steps']:.0f} steps, {summary['seconds']:.0f} s"
    )
