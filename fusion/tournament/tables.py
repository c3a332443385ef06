"""A tournament's result as tables: in a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusion.tournament.outcome import TournamentResult, interval_text

if TYPE_CHECKING:
    import rich.console
    import rich.table

__all__ = ["Listing", "listings", "markdown_of", "rich_of"]

#: errors told whole in a terminal; of the others the names
FAILED = 5
#: columns of the whole table that fit a terminal of 80 characters
NARROW = (0, 1, 2, 4, 5, 7)


@dataclass(frozen=True)
class Listing:
    """A table as text.

    Attributes:
        title: a sentence or a name above it.
        header: titles of the columns, the first of which is to the left.
        rows: cells.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """A GitHub table."""
        lines = [self.header, (":--", *("--:",) * (len(self.header) - 1))]
        lines += [tuple(cell.replace("|", "\\|") for cell in row) for row in self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def rich(self, bold: str = "") -> rich.table.Table:
        """For a terminal; an interval goes under its mean.

        Args:
            bold: the row that begins with this.
        """
        from rich import box
        from rich.table import Table
        from rich.text import Text

        out = Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
            title=Text(self.title),
            title_justify="left",
        )
        out.add_column(self.header[0], overflow="fold", min_width=8)
        for title in self.header[1:]:
            out.add_column(title.replace(" [", "\n["), justify="right", no_wrap=True)
        for row in self.rows:
            style = "bold" if bold and row[0].startswith(bold) else ""
            out.add_row(*(Text(cell.replace(" [", "\n[")) for cell in row), style=style)
        return out


def listings(result: TournamentResult, entrants: Collection[str] | None = None) -> list[Listing]:
    """What the slices and the models alone say; the entrants' own table is not among them.

    Args:
        result: of the tournament.
        entrants: only these in the slices; ``None`` = all that were sliced.
    """
    out = []
    if result.slices:
        out.append(
            Listing(
                "Slices of the judged queries",
                ("slice", "queries", "entrant", f"NDCG@{result.k} [95 %]", "Δ [95 %]"),
                tuple(
                    (
                        row.slice,
                        f"{row.queries:,}",
                        row.name,
                        "–" if row.ndcg is None else interval_text(row.ndcg),
                        "–" if row.difference is None else interval_text(row.difference, "+.4f"),
                    )
                    for row in result.slices
                    if entrants is None or row.name in entrants
                ),
            )
        )
    of = result.complementarity
    nearest = [_nearest(of.overlap[m], m, of.models) for m in range(len(of.models))]
    out.append(
        Listing(
            f"Complementarity: any model finds {of.together:.1%} of the targets in its first "
            f"{of.k}, the candidates hold {of.union:.1%}; the best model of each query would "
            f"reach NDCG@{of.k} {of.oracle:.4f}",
            ("model", "finds", "alone", "shares most with"),
            tuple(
                (name, f"{found:.1%}", f"{alone:.1%}", near)
                for name, found, alone, near in zip(
                    of.models, of.found, of.alone, nearest, strict=True
                )
            ),
        )
    )
    return out


def _nearest(overlap: np.ndarray, own: int, models: Sequence[str]) -> str:
    """The other model that finds most of what this one finds."""
    others = [m for m in range(len(models)) if m != own and not np.isnan(overlap[m])]
    if not others:
        return "–"
    most = max(others, key=lambda m: float(overlap[m]))
    return f"{models[most]} ({overlap[most]:.0%})"


def _nested(result: TournamentResult) -> list[str]:
    if result.nested is None:
        return []
    gain = interval_text(result.nested, "+.4f")
    return [
        f"Nested estimate: choosing on earlier folds and judging on the next one is worth {gain} "
        f"NDCG@{result.k} over the best single model chosen likewise."
    ]


def markdown_of(result: TournamentResult) -> str:
    """Every entrant, the recommendation, the errors, the slices, the models alone, the notes."""
    cells = tuple(result.cells(row) for row in result.rows if not row.error)
    parts = [
        f"**{result.recommendation.name}**: {result.recommendation.reason}",
        Listing("", result.header, cells).markdown(),
    ]
    if result.failed:
        failed = "\n".join(f"- {row.name}: {row.error}" for row in result.failed)
        parts.append(f"Failed:\n\n{failed}")
    for listing in listings(result):
        parts += [f"{listing.title}.", listing.markdown()]
    return "\n\n".join([*parts, *_nested(result), *result.notes]) + "\n"


def rich_of(result: TournamentResult, most: int) -> rich.console.Group:
    """For a terminal: the models, the ``most`` best fusions, slices, models alone, notes."""
    from rich.console import Group
    from rich.text import Text

    rows = result.shown(most)
    cells = tuple(tuple(result.cells(row)[at] for at in NARROW) for row in rows)
    main = Listing(
        f"recommended: {result.recommendation.name}",
        tuple(result.header[at] for at in NARROW),
        cells,
    )
    notes = [result.recommendation.reason, *_nested(result), *result.notes]
    if left_out := len(result.rows) - len(rows) - len(result.failed):
        notes.append(f"{left_out} further entrants are not shown: equal to one, or lower.")
    notes += [f"failed: {row.name}: {row.error}" for row in result.failed[:FAILED]]
    if further := [row.name for row in result.failed[FAILED:]]:
        notes.append(f"failed too: {', '.join(further)}.")
    two = {result.best_single, result.recommendation.name}
    return Group(
        main.rich(result.recommendation.name),
        *(listing.rich() for listing in listings(result, two)),
        *(Text(f"{note}\n") for note in notes),
    )
