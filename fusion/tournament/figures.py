"""The report's plots, each as a PNG in a ``data:`` address, drawn without a display.

Colours are those of Okabe and Ito (2008), "Color universal design", and nothing is told by colour
alone: position, a marker or a word says the same.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion.errors import DependencyError, explain
from fusion.tournament.outcome import Curve, Row, TournamentResult

__all__ = ["Picture", "pictures"]

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#5b6770"
CYCLE = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9", GREY)
MARKERS = "osD^vP*X"
FAINT, INK = "#d9dde0", "#22272b"
#: fusions in the forest plot; further ones would not be legible
FOREST = 30


@dataclass(frozen=True)
class Picture:
    """One plot.

    Attributes:
        title: above it.
        source: a ``data:image/png;base64`` address.
        text: what it shows, in words, for who cannot see it.
        note: how to read it.
    """

    title: str
    source: str
    text: str
    note: str


def pictures(result: TournamentResult) -> list[Picture]:
    """Every plot that ``result`` has the numbers for.

    Raises:
        DependencyError: matplotlib is missing.
    """
    out = [_forest(result), _slices(result), _overlap(result), _latency(result)]
    out += [_curve(curve) for curve in result.curves]
    return [picture for picture in out if picture is not None]


def _draw(width: float, height: float, paint: Callable[[Any, Any], None]) -> str:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.text import Text
    except ImportError as error:
        raise DependencyError(
            explain("report", "matplotlib", "none installed", 'pip install "recfusion[demo]"')
        ) from error
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(length=0, colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    paint(axes, figure)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name may hold a dollar sign
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _label(axes: Any, x: str, y: str = "") -> None:
    axes.set_xlabel(x, fontsize=9, color=INK, labelpad=6)
    if y:
        axes.set_ylabel(y, fontsize=9, color=INK, labelpad=6)


def _forest(result: TournamentResult) -> Picture | None:
    rows = [row for row in result.shown(FOREST) if row.difference is not None]
    if not rows:
        return None

    def paint(axes: Any, figure: Any) -> None:
        axes.axvline(0, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
        for at, row in enumerate(rows):
            gain = row.difference
            assert gain is not None
            sure = row.p is not None and row.p < result.alpha
            color = BLUE if sure else GREY
            axes.plot([gain.low, gain.high], [at, at], color=color, linewidth=2)
            face = color if sure else "white"
            axes.plot(gain.mean, at, "o", color=color, markerfacecolor=face, markersize=6)
        names = [_starred(result, row.name) for row in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        _label(axes, f"NDCG@{result.k} less that of {result.best_single}, 95 % interval over users")

    best = rows[0]
    assert best.difference is not None
    return Picture(
        "Against the best single model",
        _draw(8, 1.2 + 0.27 * len(rows), paint),
        f"Differences of {len(rows)} fusions to {result.best_single}, the best first: "
        f"{best.name} with {best.difference.mean:+.4f}.",
        f"Filled: corrected p below {result.alpha:g}. ★: recommended. Fusions with equal ranks "
        f"stand once; at most {FOREST} are drawn.",
    )


def _slices(result: TournamentResult) -> Picture | None:
    parts = list(dict.fromkeys((row.slice, row.queries) for row in result.slices if row.queries))
    names = list(dict.fromkeys(row.name for row in result.slices))
    if not parts:
        return None
    found = {(row.slice, row.name): row.ndcg for row in result.slices}

    def paint(axes: Any, figure: Any) -> None:
        step = 0.8 / len(names)
        for n, name in enumerate(names):
            color, marker = CYCLE[n % len(CYCLE)], MARKERS[n % len(MARKERS)]
            for at, (part, _) in enumerate(parts):
                mean = found[part, name]
                if mean is None:
                    continue
                y = at - 0.4 + (n + 0.5) * step
                axes.plot([mean.low, mean.high], [y, y], color=color, linewidth=1.6)
                label = _starred(result, name) if at == 0 else None
                axes.plot(
                    mean.mean, y, marker, color=color, markersize=5, label=label, linestyle=""
                )
        for at in range(1, len(parts)):
            axes.axhline(at - 0.5, color=FAINT, linewidth=0.8)
        axes.set_yticks(range(len(parts)), [f"{part}\n{n:,} queries" for part, n in parts])
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        _label(axes, f"NDCG@{result.k}, 95 % interval over users")
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)

    rules = {row.slice: row.rule for row in result.slices}
    return Picture(
        "Who gains: head and tail, cold and warm",
        _draw(8.5, 1.2 + 0.16 * len(parts) * len(names), paint),
        f"NDCG@{result.k} of {len(names)} entrants on {', '.join(part for part, _ in parts)}.",
        "; ".join(f"{name}: {rule}" for name, rule in rules.items()) + ".",
    )


def _overlap(result: TournamentResult) -> Picture:
    own = result.complementarity
    n = len(own.models)

    def paint(axes: Any, figure: Any) -> None:
        image = axes.imshow(own.overlap, cmap="cividis", vmin=0, vmax=1)
        for row in range(n):
            for column in range(n):
                value = own.overlap[row, column]
                shown = "–" if np.isnan(value) else f"{value:.2f}"
                color = "black" if value > 0.6 else "white"
                axes.text(
                    column,
                    row,
                    shown,
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="black" if np.isnan(value) else color,
                )
        labels = [
            f"{name}  ({found:.3f}, alone {alone:.3f})"
            for name, found, alone in zip(own.models, own.found, own.alone, strict=True)
        ]
        axes.set_yticks(range(n), labels)
        axes.set_xticks(range(n), own.models, rotation=35, ha="right")
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, label="share of the row's hits", shrink=0.8)
        _label(axes, "found by this one too", "of the targets that this one finds")

    return Picture(
        "What each model knows that the others do not",
        _draw(3.6 + 0.75 * n, 1.9 + 0.5 * n, paint),
        "Overlap of the models' hits: "
        + ", ".join(
            f"{name} finds {found:.3f}, alone {alone:.3f}"
            for name, found, alone in zip(own.models, own.found, own.alone, strict=True)
        )
        + ".",
        f"In brackets: share of queries whose target is among the model's first {own.k}, and "
        f"of those that no other model has there. Any of them: {own.together:.3f}. The best model "
        f"of each query: NDCG@{own.k} {own.oracle:.4f}, which no choice of a model can pass. Among "
        f"the candidates at all: {own.union:.3f}.",
    )


def _latency(result: TournamentResult) -> Picture | None:
    whole = any(row.total_ms is not None for row in result.rows)

    def spent(row: Row) -> float | None:
        return row.total_ms if whole else row.fusing_ms

    rows = [row for row in result.shown(None) if row.ndcg is not None and spent(row)]
    if not rows:
        return None
    named = {result.best_single, result.recommendation.name, rows[0].name}

    def paint(axes: Any, figure: Any) -> None:
        for kind, color, marker, label in (
            ("fusion", BLUE, "o", "fusion"),
            ("model", ORANGE, "D", "model alone"),
        ):
            own = [row for row in rows if row.kind == kind]
            x = [spent(row) or 0.0 for row in own]
            y = [row.ndcg.mean for row in own if row.ndcg is not None]
            axes.plot(
                x, y, marker, color=color, markersize=6, alpha=0.65, linestyle="", label=label
            )
        for row in rows:
            if row.kind == "model" or row.name in named:
                assert row.ndcg is not None
                axes.annotate(
                    _starred(result, row.name),
                    (spent(row), row.ndcg.mean),
                    xytext=(6, 3),
                    textcoords="offset points",
                    fontsize=8,
                    color=INK,
                )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.margins(x=0.15, y=0.1)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.legend(fontsize=8, frameon=False)
        what = "models and fusion" if whole else "fusion alone"
        _label(axes, f"milliseconds of one query ({what}), logarithmic", f"NDCG@{result.k}")

    return Picture(
        "Quality against latency",
        _draw(8, 4.5, paint),
        f"NDCG@{result.k} against milliseconds of {len(rows)} entrants.",
        "Of this machine under its load of that moment; one query at a time, models one after the "
        "other.",
    )


def _curve(curve: Curve) -> Picture:
    def paint(axes: Any, figure: Any) -> None:
        for n, (name, points) in enumerate(curve.lines.items()):
            color, marker = CYCLE[n % len(CYCLE)], MARKERS[n % len(MARKERS)]
            x, y = [float(a) for a, _ in points], [float(b) for _, b in points]
            axes.plot(x, y, color=color, marker=marker, markersize=5, linewidth=1.8, label=name)
        axes.grid(color=FAINT, linewidth=0.6)
        if len(curve.lines) > 1:
            axes.legend(fontsize=8, frameon=False)
        _label(axes, curve.x, curve.y)

    named = ", ".join(f"{name} ({len(points)} points)" for name, points in curve.lines.items())
    return Picture(
        curve.title, _draw(8, 4, paint), f"{curve.y} against {curve.x}: {named}.", curve.note
    )


def _starred(result: TournamentResult, name: str) -> str:
    return f"★ {name}" if name == result.recommendation.name else name
