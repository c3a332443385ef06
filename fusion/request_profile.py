"""Where the time of one request went: its stages in order, with the work that was counted in each.

A model says what it does by `fusion.work`; who asks it (`fusion.serving.asking.Asker`) collects
that, and here it becomes rows that a person can read. The stages follow one another, so they sum to
no more than the request; an inner stage (``encode``...) is a part of the stage that it stands under
and is not to be added to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fusion.work import Work

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

__all__ = [
    "RequestProfile",
    "Stage",
    "grouped",
    "hit_rate",
    "per_second",
    "profile_of",
    "stage_table",
]

#: inner stages, as the project's models call them, in which the counted matrix products run; what
#: else a call does is tokenising, gathering and waiting
COMPUTING = frozenset({"encode", "forward", "head", "interact", "search"})
NOTHING: Mapping[str, float] = MappingProxyType({})


def per_second(amount: float, ms: float) -> float | None:
    """``amount`` a second; ``None`` where nothing was counted or no time was measured.

    >>> per_second(3000, 500)
    6000.0
    """
    return amount / ms * 1000 if amount and ms > 0 else None


def hit_rate(counts: Mapping[str, float]) -> float | None:
    """Share of cache lookups that hit, 0..1; ``None`` where no cache was asked.

    >>> hit_rate({"cache_hits": 3, "cache_misses": 1})
    0.75
    """
    asked = counts.get("cache_hits", 0) + counts.get("cache_misses", 0)
    return counts.get("cache_hits", 0) / asked if asked else None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a request.

    Attributes:
        name: ``prepare``, ``retrieve``, ``score``, ``fuse``, ``rules``, ``present``; for an inner
            one what the model calls it, as ``encode``.
        model: whose; empty where it is the engine's own.
        ms: wall-clock milliseconds, waiting for another request's turn at the model included.
        counts: what was counted in it, by name; see `fusion.work`. An inner stage has none.
        inside: for an inner stage the stage of the same model that it is a part of, else empty.
    """

    name: str
    model: str
    ms: float
    counts: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    inside: str = ""
    computing_ms: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from the other stages of a request."""
        return self.inside or self.name, self.model, self.name if self.inside else ""

    @property
    def label(self) -> str:
        """``score bert``; an inner stage is indented."""
        return f"  {self.name}" if self.inside else f"{self.name} {self.model}".strip()

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens through large models a second; ``None`` where none were counted."""
        return per_second(self.counts.get("tokens", 0), self.ms)

    @property
    def gflops(self) -> float | None:
        """Achieved GFLOP/s of matrix products in the passes themselves; ``None`` likewise.

        Over the whole stage where the model does not say how long the passes took.
        """
        rate = per_second(self.counts.get("flops", 0), self.computing_ms or self.ms)
        return None if rate is None else rate / 1e9

    @property
    def hit_rate(self) -> float | None:
        """Share of cache lookups that hit; ``None`` likewise."""
        return hit_rate(self.counts)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what was not counted is left out."""
        known = {
            "tokens_per_second": self.tokens_per_second,
            "gflops": self.gflops,
            "hit_rate": self.hit_rate,
        }
        return {
            **self.counts,
            "stage": self.name,
            "model": self.model,
            "inside": self.inside,
            "ms": round(self.ms, 3),
            **({"computing_ms": round(self.computing_ms, 3)} if self.computing_ms else {}),
            **{name: value for name, value in known.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class RequestProfile:
    """The stages of one request, in their order.

    Attributes:
        stages: each followed by its inner stages.
        ms: of the whole request.
    """

    stages: tuple[Stage, ...]
    ms: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"ms": round(self.ms, 3), "stages": [stage.to_json() for stage in self.stages]}

    def rich(self) -> Group:
        """Tables for the terminal: the times, and the work where any was counted."""
        rows = []
        for stage in self.stages:
            share = f"{stage.ms / self.ms:.1%}" if self.ms > 0 else ""
            rows.append((stage, (f"{stage.ms:.2f}", share)))
        times = stage_table(("ms", "share"), rows)
        times.add_section()
        times.add_row("request", f"{self.ms:.2f}", "100.0%", style="bold")
        return grouped(times, [(stage, ()) for stage in self.stages])


def profile_of(
    calls: Iterable[tuple[str, Mapping[str, Work]]],
    own: Sequence[tuple[str, float]],
    ms: float,
) -> RequestProfile:
    """The profile of a request.

    Args:
        calls: model and what its calls took: kind (``retrieve``, ``score``) -> work, whose seconds
            of the kind's own name are those of the whole call.
        own: the engine's own stages and their milliseconds: ``prepare`` first, which comes before
            the models; the others after them.
        ms: of the whole request.
    """
    by_kind: dict[str, list[Stage]] = {"retrieve": [], "score": []}
    for model, kinds in calls:
        for kind, work in kinds.items():
            spent = 1000 * work.seconds.get(kind, 0.0)
            rows = by_kind.setdefault(kind, [])
            computing = sum(s for name, s in work.seconds.items() if name in COMPUTING)
            counts = dict(work.counts)
            rows.append(Stage(kind, model, spent, counts, computing_ms=1000 * computing))
            rows += [
                Stage(name, model, 1000 * seconds, inside=kind)
                for name, seconds in work.seconds.items()
                if name != kind
            ]
    first, *rest = [Stage(name, "", spent) for name, spent in own]
    asked = [stage for rows in by_kind.values() for stage in rows]
    return RequestProfile((first, *asked, *rest), ms)


def stage_table(columns: Sequence[str], rows: Sequence[tuple[Stage, Sequence[str]]]) -> Table:
    """A table of stages and one cell a column for each."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("stage", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    for stage, cells in rows:
        table.add_row(*map(Text, (stage.label, *cells)), style="dim" if stage.inside else "")
    return table


def grouped(
    times: Table,
    rows: Sequence[tuple[Stage, Sequence[str]]],
    columns: Sequence[str] = (),
) -> Group:
    """``times``, and below it a table of the work that the stages of ``rows`` counted, if any.

    Args:
        columns: of the cells that stand in ``rows`` beside the stages.
    """
    from rich.console import Group

    counted = [
        (stage, (*_work_cells(stage), *cells)) for stage, cells in rows if any(_work_cells(stage))
    ]
    if not counted:
        return Group(times)
    names = ("tokens", "tokens/s", "GFLOP/s", "MB", "cache hits", *columns)
    return Group(times, stage_table(names, counted))


def _work_cells(stage: Stage) -> tuple[str, ...]:
    """Tokens, tokens a second, GFLOP/s, megabytes, cache hits; empty where nothing was counted."""
    tokens, moved = stage.counts.get("tokens", 0), stage.counts.get("bytes", 0)
    return (
        f"{tokens:,.0f}" if tokens else "",
        _shown(stage.tokens_per_second, ",.0f"),
        _shown(stage.gflops, ",.1f"),
        f"{moved / 1e6:,.2f}" if moved else "",
        _shown(stage.hit_rate, ".0%"),
    )


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
