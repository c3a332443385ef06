"""A dot plot of a `Table`: the primary metric of every row with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fusion.errors import DataError, DependencyError, explain
from fusion.evaluation.table import Table

__all__ = ["save_plot"]

#: Okabe and Ito (2008), "Color universal design": told apart by all readers, and by position anyway
_COLORS = {"model": "#5b6770", "fusion": "#0072b2"}
_FAINT = "#d9dde0"
_INK = "#22272b"
_SUFFIXES = (".png", ".svg")


def save_plot(table: Table, path: Path | str, *, title: str = "") -> Path:
    """Draw ``table`` into ``path`` (``.png`` or ``.svg``).

    Rows stand in the table's order. A line through the best single model shows at a glance which
    interval is beyond it; the paired intervals of the table are what decides, since the values of
    two rows on the same queries are correlated.

    Raises:
        DependencyError: matplotlib is missing.
        DataError: another suffix.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise DataError(explain("plot", f"a file ending in {' or '.join(_SUFFIXES)}", path.name))
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            explain("plot", "matplotlib", "none installed", 'pip install "recfusion[demo]"')
        ) from error
    rows = table.rows
    figure = Figure(figsize=(7.2, 1.5 + 0.42 * len(rows)), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    reference = next((row.primary.mean for row in rows if row.best), None)
    if reference is not None:
        axes.axvline(
            reference, color=_COLORS["model"], linewidth=1, linestyle=(0, (4, 3)), zorder=1
        )
    for at, row in enumerate(rows):
        estimate, color = row.primary, _COLORS[row.kind]
        axes.plot([estimate.low, estimate.high], [at, at], color=color, linewidth=2.2, zorder=2)
        axes.plot(estimate.mean, at, "o", color=color, markersize=7, zorder=3)
        _label(axes, row.means[table.primary], max(estimate.high, estimate.mean), at, color)
    _dress(axes, table, title)
    figure.savefig(path)
    return path


def _label(axes: Any, mean: float, right_end: float, at: int, color: str) -> None:
    axes.annotate(
        f"{mean:.3f}",
        (right_end, at),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=color,
        annotation_clip=False,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},  # legible on the dashed line
        zorder=2.5,
    )


def _dress(axes: Any, table: Table, title: str) -> None:
    rows = table.rows
    names = [f"{row.name}  (best single)" if row.best else row.name for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    models = sum(row.kind == "model" for row in rows)
    if 0 < models < len(rows):
        axes.axhline(models - 0.5, color=_FAINT, linewidth=1, zorder=0)
    axes.margins(x=0.12)
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x", color=_FAINT, linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.tick_params(length=0, colors=_INK, labelsize=9.5)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(_COLORS[row.kind])
        tick.set_fontweight("bold" if row.kind == "fusion" else "normal")
    estimate = rows[0].primary
    axes.set_xlabel(
        f"{table.primary}, mean and {estimate.level:.0%} interval over "
        f"{estimate.clusters:,} users ({estimate.queries:,} queries)",
        fontsize=9,
        color=_INK,
        labelpad=8,
    )
    if title:
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=_INK, pad=12)
