"""`Table`: single models and fusions side by side, and how sure the differences are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.errors import DataError, explain
from fusion.evaluation.fingerprint import require_same
from fusion.evaluation.result import Result
from fusion.evaluation.significance import Estimate, holm, mean_interval, paired_difference

if TYPE_CHECKING:
    import rich.table

__all__ = ["Row", "Table"]

_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        name: of the model or fusion.
        kind: ``"model"`` or ``"fusion"``.
        primary: mean of the primary metric with its interval.
        means: metric name -> mean over queries, in the table's order of columns.
        coverage: catalogue coverage, 0..1; ``None`` = not measured.
        p50_ms: median latency of one ``recommend``; ``None`` = not timed.
        difference: the primary metric less the best single model's; ``None`` for models.
        p_holm: Holm-corrected p-value of ``difference``; ``None`` for models.
        best: whether it is the best single model.
    """

    name: str
    kind: str
    primary: Estimate
    means: dict[str, float]
    coverage: float | None
    p50_ms: float | None
    difference: Estimate | None
    p_holm: float | None
    best: bool


class Table:
    """Results of one protocol: models first, then fusions, in the order given.

    Every fusion is compared with the best single model on the primary metric, by a paired interval
    and a p-value corrected for the number of fusions (`fusion.evaluation.significance`).

    Args:
        results: at least one, with different names.
        primary: the metric that chooses the best single model and is compared.
        metrics: columns; the primary one must be among them.
        k: cutoff of the coverage.
        rng: seed of the bootstrap.

    Attributes:
        rows: tuple of `Row`.
        best: name of the best single model (of equal ones the first); ``None`` without a model.

    Raises:
        FingerprintError: results of different protocols.
        DataError: no result, one name twice, a result without one of the metrics.
    """

    def __init__(
        self,
        results: Sequence[Result],
        *,
        primary: str = "NDCG@10",
        metrics: Sequence[str] = ("NDCG@10", "HR@10"),
        k: int = 10,
        rng: int = 0,
    ) -> None:
        names = [result.name for result in results]
        if not results or len(set(names)) < len(names):
            raise DataError(explain("table", "results of different names", str(names)))
        require_same([result.fingerprint for result in results], names)
        columns = tuple(metrics) if primary in metrics else (primary, *metrics)
        for result in results:
            missing = [name for name in columns if name not in result.per_query]
            if missing:
                raise DataError(
                    explain(f"result {result.name!r}", f"metrics {columns}", f"no {missing}")
                )
        self.primary, self.metrics, self.k = primary, columns, k
        self.results = tuple(sorted(results, key=lambda result: result.kind != "model"))
        models = [result for result in self.results if result.kind == "model"]
        best = max(models, key=lambda r: float(np.mean(r.per_query[primary])), default=None)
        self.best = None if best is None else best.name
        fusions = [result for result in self.results if result.kind == "fusion"]
        differences = (
            {}
            if best is None
            else {
                one.name: paired_difference(
                    one.per_query[primary],
                    best.per_query[primary],
                    one.users,
                    level=_LEVEL,
                    rng=rng,
                )
                for one in fusions
            }
        )
        corrected = dict(
            zip(differences, holm([one.p for one in differences.values()]), strict=True)
        )
        self.rows = tuple(
            Row(
                result.name,
                result.kind,
                mean_interval(result.per_query[primary], result.users, level=_LEVEL, rng=rng),
                {name: float(np.mean(result.per_query[name])) for name in columns},
                result.summary.get(f"coverage@{k}"),
                None if result.latency_ms is None else result.latency_ms.get("p50"),
                differences.get(result.name),
                corrected.get(result.name),
                result.name == self.best,
            )
            for result in self.results
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know to read the numbers."""
        primary, fingerprint = self.rows[0].primary, self.results[0].fingerprint
        out = [
            f"{primary.queries:,} queries of {primary.clusters:,} users; {fingerprint.split}; "
            f"ranking of the {fingerprint.candidates}, seen items {fingerprint.seen}; protocol "
            f"{fingerprint.protocol[:12]}. Coverage: share of the catalogue in anybody's first "
            f"{self.k}."
        ]
        if any(row.difference is not None for row in self.rows):
            out += [
                f"Δ: {self.primary} less that of the best single model (†), with its "
                f"{_LEVEL:.0%} BCa bootstrap interval over users; p: paired randomisation test, "
                f"Holm-corrected for the number of fusions.",
                "The best single model is chosen on these same queries, which favours it (winner's "
                "curse): the differences are, if anything, too small.",
            ]
        return tuple(out)

    @property
    def header(self) -> tuple[str, ...]:
        """Titles of the columns."""
        return ("", *self.metrics, "coverage", "p50 ms", "Δ [95 %]", "p")

    def cells(self, row: Row) -> tuple[str, ...]:
        """One line as text; an en dash where there is no value."""
        difference = row.difference
        delta = "–"
        if difference is not None:
            delta = f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
        return (
            f"{row.name} †" if row.best else row.name,
            *(f"{row.means[name]:.4f}" for name in self.metrics),
            "–" if row.coverage is None else f"{row.coverage:.3f}",
            "–" if row.p50_ms is None else f"{row.p50_ms:.1f}",
            delta,
            "–" if row.p_holm is None else _p(row.p_holm),
        )

    def markdown(self) -> str:
        """A GitHub table with its notes; the highest value of each metric is bold."""
        lines = [self.header, (":--", *("--:",) * (len(self.header) - 1))]
        top = {name: max(row.means[name] for row in self.rows) for name in self.metrics}
        for row in self.rows:
            cells = [cell.replace("|", "\\|") for cell in self.cells(row)]
            for at, name in enumerate(self.metrics, start=1):
                if row.means[name] == top[name]:
                    cells[at] = f"**{cells[at]}**"
            lines.append(tuple(cells))
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return table + "\n\n" + "\n\n".join(self.notes) + "\n"

    def rich(self) -> rich.table.Table:
        """For a terminal: the same cells, models and fusions in two sections."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        # no vertical lines and a folding name: all columns whole in 80 characters
        out = RichTable(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
            caption="\n".join(self.notes),
            caption_justify="left",
        )
        out.add_column("", overflow="fold", min_width=8)
        for title in self.header[1:]:
            out.add_column(title, justify="right", no_wrap=True)
        for at, row in enumerate(self.rows):
            last = at + 1 < len(self.rows) and self.rows[at + 1].kind != row.kind
            style = "bold" if row.kind == "fusion" else ""
            cells = [cell.replace(" [", "\n[") for cell in self.cells(row)[1:]]
            out.add_row(Text(self.cells(row)[0]), *map(Text, cells), end_section=last, style=style)
        return out

    def to_json(self) -> dict[str, Any]:
        """Ready for ``json.dumps(..., allow_nan=False)``: rows, notes and the protocol."""
        return {
            "primary": self.primary,
            "best_single": self.best,
            "protocol": self.results[0].fingerprint.protocol,
            "rows": [
                _plain(asdict(row)) | {"fingerprint": result.fingerprint.to_json()}
                for row, result in zip(self.rows, self.results, strict=True)
            ],
            "notes": list(self.notes),
        }


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _plain(value: Any) -> Any:
    """NaN is null, at any depth."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
