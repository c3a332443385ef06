"""``recfusion recommend``: for one user, after a history, or for everybody into a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusion.commands.common import AsJson, EngineFolder, Quiet, show, show_json, show_pairs
from fusion.errors import DataError, explain

if TYPE_CHECKING:
    from fusion.recommendation import Recommendations

__all__ = ["recommend"]


def recommend(
    folder: EngineFolder,
    user: Annotated[str | None, typer.Option(help="A user of the data it was fitted on.")] = None,
    history: Annotated[
        str | None, typer.Option(help="Item ids, oldest first, with commas between.")
    ] = None,
    item: Annotated[
        list[str] | None, typer.Option(help="One more item of the history; may be repeated.")
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="For every user of the data, into the file --out.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --all: a Parquet file of user_id, item_id, score, rank. A run that was "
            "killed goes on where it was."
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="With --all: users that a model is asked for at once.")
    ] = 256,
    k: Annotated[int, typer.Option("-k", help="How many items.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Allow items of the history.")
    ] = False,
    explain_scores: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show what each model gave to each score, how each model did, what rules removed, "
            "and where the time went.",
        ),
    ] = False,
    deadline_ms: Annotated[
        float | None,
        typer.Option(help="Answer within so many milliseconds, by fewer models if need be."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Recommend items to a user of a saved engine, after a history, or to all of its users."""
    items = [*filter(None, (history or "").split(",")), *(item or [])]
    by_history = history is not None or item is not None
    exclude_seen = False if include_seen else None
    if everybody or out is not None:
        _check_all(out, everybody, user is not None or by_history, explain_scores, deadline_ms)
        assert out is not None
        _recommend_all(folder, out, k, exclude_seen, batch, as_json=as_json, quiet=quiet)
        return
    if by_history == (user is not None):
        raise DataError(
            explain("recommend", "--user, or --history and --item", "neither or both of them")
        )
    from fusion.engine import Engine

    engine = Engine.load(folder)
    found = engine.recommend(
        user,
        k=k,
        history=items if by_history else None,
        exclude_seen=exclude_seen,
        deadline_ms=deadline_ms,
        explain=explain_scores,
    )
    if as_json:
        show_json(found.to_json() if explain_scores else [one.to_json() for one in found])
    else:
        _show_recommendations(found, explain_scores)


def _check_all(
    out: Path | None,
    everybody: bool,
    somebody: bool,
    explained: bool,
    deadline_ms: float | None,
) -> None:
    if out is None or not everybody or somebody:
        got = "--user, --history or --item too" if somebody else "one of them alone"
        raise DataError(explain("recommend", "--all and --out together", got))
    if explained or deadline_ms is not None:
        expected = "neither --explain nor --deadline-ms with --all"
        raise DataError(explain("recommend", expected, "one of them"))


def _recommend_all(
    folder: Path,
    out: Path,
    k: int,
    exclude_seen: bool | None,
    batch: int,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from fusion.engine import Engine
    from fusion.serving.lists_file import checked_file

    checked_file(out)  # now, not after a large engine is loaded
    done = Engine.load(folder).recommend_many(
        None, k, out=out, exclude_seen=exclude_seen, batch=batch, progress=not quiet
    )
    if as_json:
        show_json(done.to_json())
        return
    summary = {"file": str(done.path), "users": done.users, "rows": done.rows}
    if done.resumed:
        summary["users of the run before"] = done.resumed
    rate = (done.users - done.resumed) / max(done.seconds, 1e-9)
    summary |= {"seconds": round(done.seconds, 1), "users a second": round(rate)}
    for name, seen in done.failed.items():
        summary[f"{name} was left out"] = f"for {seen['users']} users: {seen['reason']}"
    summary |= {f"removed, {rule}": items for rule, items in done.removed.items()}
    show_pairs(summary)


def _show_recommendations(found: Recommendations, explained: bool) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    parts = list(found[0].contributions) if explained and found else []
    table = RichTable("rank", "item", "title", "score", *parts)
    for one in found:
        given = [f"{one.contributions[part]:+.4f}" for part in parts]
        row = (str(one.rank), one.item_id, one.title, f"{one.score:.4f}", *given)
        table.add_row(*map(Text, row))
    show(table)
    for name, run in found.models.items():
        if run.status != "ok":
            show(Text(f"{name}: {run.status} after {run.ms:.0f} ms; {run.reason}"))
    for rule, items in found.removed.items() if explained else ():
        show(Text(f"{rule}: removed {', '.join(items)}"))
    if found.profile is not None:
        show(found.profile.rich())
