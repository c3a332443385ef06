"""What a swap would change: the two fusions side by side before one takes the other's place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusion.errors import RecfusionError, SwapRefusedError, explain
from fusion.evaluation.agreement import overlap, rbo
from fusion.evaluation.significance import Estimate
from fusion.pool import LivePool
from fusion.protocols import Pool, Strategy
from fusion.queries import Queries
from fusion.serving.answering import Models
from fusion.serving.held_out import HeldOut
from fusion.serving.requests import Request
from fusion.serving.state import State
from fusion.topk import top_of

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Guards", "SwapReport", "compare_states"]

#: requests that are timed; each asks the models twice
TIMED = 10


@dataclass(frozen=True, slots=True)
class Guards:
    """Limits; a swap beyond one of them is refused. ``None`` = no limit.

    Attributes:
        max_churn: 1 - mean RBO of the two fusions' lists, at most.
        min_gain: the lower end of the 95 % interval of the gain in held-out NDCG@10, at least: 0
            asks for a fusion that is surely no worse, -0.005 allows a loss that small.
        max_slowdown: the new median latency over the old one, at most.
    """

    max_churn: float | None = None
    min_gain: float | None = None
    max_slowdown: float | None = None


@dataclass(frozen=True, slots=True)
class SwapReport:
    """The old fusion against the new one. A number that could not be measured is NaN.

    Attributes:
        old: mode of the fusion in force before.
        new: mode of the other.
        old_hash: of its configuration.
        new_hash: likewise.
        source: what was replayed: the engine's last ``requests``, else the users of its
            ``windows``, else ``nothing``.
        replayed: how many.
        rbo: mean rank-biased overlap of the two lists (p = 0.9), each as long as was asked for.
        overlap: mean share of items that both lists have.
        ndcg_old: mean NDCG@10 on the out-of-window queries; a fusion that learns is cross-fitted.
        ndcg_new: likewise.
        gain: ``ndcg_new - ndcg_old`` with its paired interval and p-value; ``None`` = unknown.
        ms_old: median milliseconds of a replayed request, models included.
        ms_new: likewise; the two take turns.
        swapped: whether the new one is in force now.
        refused: the guard that kept it out; empty if none did.
    """

    old: str
    new: str
    old_hash: str
    new_hash: str
    source: Literal["requests", "windows", "nothing"] = "nothing"
    replayed: int = 0
    rbo: float = float("nan")
    overlap: float = float("nan")
    ndcg_old: float = float("nan")
    ndcg_new: float = float("nan")
    gain: Estimate | None = None
    ms_old: float = float("nan")
    ms_new: float = float("nan")
    swapped: bool = False
    refused: str = ""

    @property
    def churn(self) -> float:
        """``1 - rbo``: 0 if no list changes."""
        return 1.0 - self.rbo

    def checked(self, guards: Guards) -> SwapReport:
        """Itself, if every guard lets it pass.

        Raises:
            SwapRefusedError: one does not, or what it limits could not be measured.
        """
        low = float("nan") if self.gain is None else self.gain.low
        slow = self.ms_new / self.ms_old if self.ms_old > 0 else float("nan")
        limits = (
            ("max_churn", guards.max_churn, self.churn, -1),
            ("min_gain", guards.min_gain, low, 1),
            ("max_slowdown", guards.max_slowdown, slow, -1),
        )
        for name, limit, value, sign in limits:
            if limit is not None and not sign * value >= sign * limit:
                got = "nothing measured" if np.isnan(value) else f"{value:.4f}"
                expected = f"{'at least' if sign > 0 else 'at most'} {limit:g}"
                text = explain(
                    f"swap, {name}", expected, got, "the fusion in force stays; see .report"
                )
                raise SwapRefusedError(text, report=replace(self, refused=text))
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        values = {**asdict(self), "churn": self.churn}
        return {key: _plain(value) for key, value in values.items()}

    def rich(self) -> Table:
        """A table for the terminal."""
        from rich.table import Table

        table = Table("", f"old: {self.old}", f"new: {self.new}", "difference")
        gain = self.gain
        table.add_row(
            "NDCG@10, held out",
            _shown(self.ndcg_old),
            _shown(self.ndcg_new),
            "" if gain is None else f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]",
        )
        table.add_row("latency p50, ms", _shown(self.ms_old, 2), _shown(self.ms_new, 2), "")
        what = f"of {self.replayed} {self.source}"
        table.add_row("RBO", "", "", f"{_shown(self.rbo)} {what}")
        table.add_row("overlap", "", "", f"{_shown(self.overlap)} {what}")
        return table


def compare_states(
    models: Models,
    old: State,
    new: State,
    requests: Sequence[Request],
    window: Pool | None,
    judge: Callable[[State], HeldOut | None],
) -> SwapReport:
    """Replay, judge and time; the models are asked, nothing is changed.

    Args:
        requests: the last ones that the engine answered.
        window: the newest out-of-window scores, which stand in where there was no request.
        judge: held-out NDCG of a state's fusion.
    """
    report = SwapReport(
        str(old.config.fusion["mode"]),
        str(new.config.fusion["mode"]),
        old.config.hash,
        new.config.hash,
    )
    asked = _queries(models, old, requests)
    if asked is not None:
        queries, lengths = asked
        asker = models.asker(old.config.serving.on_model_error)
        pool: Pool = models.pool(queries, max(lengths), asker)
        report = replace(report, source="requests")
    elif window is not None and len(window.queries):
        pool, queries = window, window.queries
        lengths = [10] * len(queries)
        report = replace(report, source="windows")
    else:
        return report
    lists = [_lists(state.strategy, pool, lengths) for state in (old, new)]
    pairs = list(zip(*lists, lengths, strict=True))
    report = replace(
        report,
        replayed=len(pairs),
        rbo=float(np.mean([rbo(a, b) for a, b, _ in pairs])),
        overlap=float(np.mean([overlap(a, b, k) for a, b, k in pairs])),
    )
    ms = _latency(models, (old, new), queries, lengths)
    report = replace(report, ms_old=ms[0], ms_new=ms[1])
    before, after = judge(old), judge(new)
    if before is None or after is None:
        return report
    return replace(
        report,
        ndcg_old=float(before.values.mean()),
        ndcg_new=float(after.values.mean()),
        gain=after.gain_over(before),
    )


def _queries(
    models: Models, state: State, requests: Sequence[Request]
) -> tuple[Queries, list[int]] | None:
    """The queries that have a history, and how many items each asked for."""
    parts, lengths = [], []
    for request in requests:
        try:
            query = request.queries(state.config, models.data)
        except RecfusionError:  # it was answered once; what it was about is gone
            continue
        if query.history.lengths[0] > 0:
            parts.append(query)
            lengths.append(request.k)
    return (Queries.concatenate(parts), lengths) if parts else None


def _lists(strategy: Strategy, pool: Pool, lengths: Sequence[int]) -> list[list[int]]:
    top = top_of(strategy.fuse(pool), max(lengths), explain=False)
    return [
        top.items[start : min(start + k, stop)].tolist()
        for start, stop, k in zip(top.offsets[:-1], top.offsets[1:], lengths, strict=True)
    ]


def _latency(
    models: Models, states: tuple[State, State], queries: Queries, lengths: Sequence[int]
) -> tuple[float, float]:
    """Median milliseconds of either fusion; they take turns, so that load falls on both."""
    spent: tuple[list[float], list[float]] = ([], [])
    chosen = range(min(TIMED, len(queries)))
    for q in [0, *chosen]:  # the first one warms up
        one = queries.take(np.array([q]))
        for side in (0, 1) if q % 2 else (1, 0):
            state = states[side]
            asker = models.asker(state.config.serving.on_model_error)
            start = time.perf_counter()
            pool: LivePool = models.pool(one, lengths[q], asker)
            top_of(state.strategy.fuse(pool), lengths[q])
            spent[side].append(1000 * (time.perf_counter() - start))
    return tuple(float(np.median(times[1:])) for times in spent)  # type: ignore[return-value]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


def _shown(value: float, digits: int = 4) -> str:
    return "unknown" if np.isnan(value) else f"{value:.{digits}f}"
