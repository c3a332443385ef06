"""`TournamentResult`: the table, the recommendation, and what lies behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusion.tournament.complementarity import Complementarity
from fusion.tournament.intervals import Interval

if TYPE_CHECKING:
    import rich.console

    from fusion.engine import Engine

__all__ = ["Curve", "FinalLook", "Recommended", "Row", "SliceRow", "TournamentResult"]


@dataclass(frozen=True)
class Row:
    """One entrant.

    Attributes:
        name: unique.
        kind: ``"model"`` or ``"fusion"``.
        fusion: what stands under ``fusion:``.
        learns: whether it was fitted in each fold.
        ndcg: NDCG@k; ``None`` after an error.
        hit_rate: HR@k; NaN after an error, as the next.
        mrr: MRR@k.
        difference: NDCG@k less the best single model's on the same queries; ``None`` for models.
        p: corrected p-value of "better than every single model", one-sided; ``None`` for models.
        fusing_ms: median milliseconds of fusing one query from cached columns; ``None`` = not
            timed.
        total_ms: that and what the models asked cost; ``None`` where either is not known.
        seconds: of learning and judging in all folds.
        same_as: an earlier entrant with the same ranks everywhere; ``""`` without.
        fell_back: in so many folds reciprocal rank fusion stood in for a stacker that had too
            little to learn from.
        error: why there is no value; ``""`` without.
    """

    name: str
    kind: Literal["model", "fusion"]
    fusion: Mapping[str, Any]
    learns: bool = False
    ndcg: Interval | None = None
    hit_rate: float = float("nan")
    mrr: float = float("nan")
    difference: Interval | None = None
    p: float | None = None
    fusing_ms: float | None = None
    total_ms: float | None = None
    seconds: float = 0.0
    same_as: str = ""
    fell_back: int = 0
    error: str = ""


@dataclass(frozen=True)
class SliceRow:
    """One entrant on a part of the queries.

    Attributes:
        slice: name of the part.
        rule: who belongs to it.
        queries: how many that are.
        name: of the entrant.
        ndcg: its NDCG@k there; ``None`` for an empty part, as the next.
        difference: less that of the best single model (best over all queries).
    """

    slice: str
    rule: str
    queries: int
    name: str
    ndcg: Interval | None
    difference: Interval | None


@dataclass(frozen=True)
class Recommended:
    """What to ship.

    Attributes:
        name: of the row.
        kind: ``"fusion"``, or ``"model"`` where no fusion is significantly better.
        fusion: what to put under ``fusion:``, every default filled in.
        reason: in words.
    """

    name: str
    kind: Literal["model", "fusion"]
    fusion: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class FinalLook:
    """The recommended entrant and the best single model on the test split, once.

    Attributes:
        split: of the test, in words.
        queries: how many.
        users: how many.
        ndcg: name -> NDCG@k.
        hit_rate: name -> HR@k.
        difference: recommended less single; ``None`` where the single model is recommended.
        p: two-sided, of that one comparison; ``None`` likewise.
    """

    split: str
    queries: int
    users: int
    ndcg: Mapping[str, Interval]
    hit_rate: Mapping[str, float]
    difference: Interval | None
    p: float | None


@dataclass(frozen=True)
class Curve:
    """A plot that somebody else computed, for the report.

    Attributes:
        title: above the plot.
        x: what runs along the axis, with its unit.
        y: likewise.
        lines: name -> points, in the order to connect them.
        note: a sentence under the plot.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    note: str = ""


@dataclass(frozen=True)
class TournamentResult:
    """What a tournament gave.

    Attributes:
        k: length of the lists that were judged.
        alpha: a fusion is recommended below this corrected p.
        best_single: name of the best single model on the judged queries.
        rows: every entrant, the highest NDCG first; errors last.
        recommendation: what to ship.
        nested: NDCG@k of choosing on earlier folds and judging on the next, less the best single
            model chosen likewise: what the choice is worth without the winner's luck; ``None`` with
            too few folds.
        slices: of the models and the best fusions.
        complementarity: of the models.
        notes: what a reader must know to read the numbers.
        facts: numbers about the run: JSON values.
        test: the final look, where it was asked for.
        curves: other plots of the report.
        engine: the fitted engine, with its windows; ``None`` where there was none.
    """

    k: int
    alpha: float
    best_single: str
    rows: tuple[Row, ...]
    recommendation: Recommended
    nested: Interval | None
    slices: tuple[SliceRow, ...]
    complementarity: Complementarity
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    test: FinalLook | None = None
    curves: tuple[Curve, ...] = ()
    engine: Engine | None = field(default=None, repr=False, compare=False)

    def with_curves(self, curves: Sequence[Curve]) -> TournamentResult:
        """The same with more plots for the report."""
        return replace(self, curves=(*self.curves, *curves))

    def row(self, name: str) -> Row:
        """The row called ``name``.

        Raises:
            KeyError: nobody is called so.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """Ready for ``json.dumps(..., allow_nan=False)``; NaN is null."""
        out: dict[str, Any] = _plain(
            {
                "tournament": True,
                "k": self.k,
                "alpha": self.alpha,
                "best_single": self.best_single,
                "recommendation": asdict(self.recommendation),
                "rows": [asdict(row) for row in self.rows],
                "nested": None if self.nested is None else asdict(self.nested),
                "slices": [asdict(row) for row in self.slices],
                "complementarity": self.complementarity.to_json(),
                "test_looked_at": self.test is not None,
                "test": None if self.test is None else asdict(self.test),
                "curves": [asdict(curve) for curve in self.curves],
                "notes": list(self.notes),
                "facts": dict(self.facts),
            }
        )
        return out

    @property
    def header(self) -> tuple[str, ...]:
        """Titles of the columns."""
        k = self.k
        return ("", f"NDCG@{k} [95 %]", f"HR@{k}", f"MRR@{k}", "Δ [95 %]", "p", "fuse ms", "ms")

    def cells(self, row: Row) -> tuple[str, ...]:
        """One line as text; an en dash where there is no value."""
        name = row.name
        if row.name == self.best_single:
            name += " †"
        if row.name == self.recommendation.name:
            name += " ★"
        if row.fell_back:
            name += f" ({row.fell_back} folds rrf)"
        if row.ndcg is None:
            return (name, *("–",) * (len(self.header) - 1))
        return (
            name,
            interval_text(row.ndcg),
            f"{row.hit_rate:.4f}",
            f"{row.mrr:.4f}",
            "–" if row.difference is None else interval_text(row.difference, "+.4f"),
            "–" if row.p is None else p_text(row.p),
            "–" if row.fusing_ms is None else f"{row.fusing_ms:.2f}",
            "–" if row.total_ms is None else f"{row.total_ms:.1f}",
        )

    def shown(self, most: int | None) -> list[Row]:
        """Every model, the ``most`` best different fusions, and the recommended one."""
        out, fusions = [], 0
        for row in self.rows:
            fusion = row.kind == "fusion"
            if row.error or (row.same_as and row.name != self.recommendation.name):
                continue
            fusions += fusion
            few = most is None or fusions <= most or row.name == self.recommendation.name
            if not fusion or few:
                out.append(row)
        return out

    @property
    def failed(self) -> tuple[Row, ...]:
        """The entrants that ended in an error."""
        return tuple(row for row in self.rows if row.error)

    def markdown(self) -> str:
        """GitHub tables of every entrant, the slices and the models alone, errors and notes."""
        from fusion.tournament.tables import markdown_of

        return markdown_of(self)

    def rich(self, most: int = 15) -> rich.console.Group:
        """For a terminal: the models, the ``most`` best fusions, slices, models alone, notes."""
        from fusion.tournament.tables import rich_of

        return rich_of(self, most)


def interval_text(interval: Interval, form: str = ".4f") -> str:
    """``+0.0100 [+0.0020, +0.0180]``."""
    low, high = format(interval.low, form), format(interval.high, form)
    return f"{format(interval.mean, form)} [{low}, {high}]"


def p_text(value: float) -> str:
    """``< 0.001``, or three digits."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _plain(value: Any) -> Any:
    """NaN is null and tuples are lists, at any depth."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    return value
