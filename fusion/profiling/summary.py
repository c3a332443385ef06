"""What many requests have in common: percentiles of every stage, its share, the work it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusion.request_profile import RequestProfile, Stage

__all__ = ["PERCENTILES", "StageSummary", "percentiles", "summarise"]

PERCENTILES = (50, 95, 99)
#: the order in which a request goes through them
ORDER = ("prepare", "retrieve", "score", "fuse", "rules", "present")


def percentiles(ms: Sequence[float]) -> tuple[float, ...]:
    """The 50th, 95th and 99th percentile, linear between neighbours, as `numpy.percentile`.

    >>> percentiles([1, 2, 3, 4, 5])
    (3.0, 4.8, 4.96)
    """
    return tuple(float(value) for value in np.percentile(ms, PERCENTILES))


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage over many requests.

    Attributes:
        total: the stage with the milliseconds and the counts of all requests, so that its rates are
            amounts divided by the time that they took.
        requests: how many had it; a deadline leaves models out.
        ms: its percentiles over those, see `PERCENTILES`.
        share: of the time of all requests, 0..1.
        peak: GFLOP/s that the hardware reaches in the model's precision; ``None`` = not known.
    """

    total: Stage
    requests: int
    ms: tuple[float, ...]
    share: float
    peak: float | None = None

    @property
    def of_peak(self) -> float | None:
        """Achieved share of `peak`; ``None`` where either is not known."""
        rate = self.total.gflops
        return None if rate is None or not self.peak else rate / self.peak

    @property
    def a_request(self) -> Stage:
        """The same with the mean milliseconds and counts of one request."""
        n, total = self.requests, self.total
        counts = {name: amount / n for name, amount in total.counts.items()}
        computing = total.computing_ms / n
        return Stage(total.name, total.model, total.ms / n, counts, total.inside, computing)

    def to_json(self) -> dict[str, Any]:
        """Plain values; counts are means a request, what was not counted is left out."""
        one = self.a_request.to_json()
        mean = one.pop("ms")
        names = (f"p{p}_ms" for p in PERCENTILES)
        spent = {name: round(ms, 4) for name, ms in zip(names, self.ms, strict=True)}
        known = {"peak_gflops": self.peak, "of_peak": self.of_peak}
        return {
            **one,
            **spent,
            "mean_ms": mean,
            "share": round(self.share, 5),
            "requests": self.requests,
            **{name: value for name, value in known.items() if value is not None},
        }


def summarise(
    profiles: Iterable[RequestProfile], peaks: Mapping[str, float]
) -> tuple[StageSummary, ...]:
    """Every stage that any request had, in the order of a request.

    Args:
        peaks: model -> floating-point operations a second that its hardware reaches.
    """
    spent: dict[tuple[str, str, str], list[float]] = {}
    last: dict[tuple[str, str, str], Stage] = {}
    counts: dict[tuple[str, str, str], dict[str, float]] = {}
    computing: dict[tuple[str, str, str], float] = {}
    whole = 0.0
    for profile in profiles:
        whole += profile.ms
        for stage in profile.stages:
            spent.setdefault(stage.key, []).append(stage.ms)
            last[stage.key] = stage
            computing[stage.key] = computing.get(stage.key, 0.0) + stage.computing_ms
            sums = counts.setdefault(stage.key, {})
            for name, amount in stage.counts.items():
                sums[name] = sums.get(name, 0.0) + amount
    seen = list(spent)
    models = list(dict.fromkeys(model for _, model, _ in seen))
    # an inner stage stands under its own, whichever request it was first met in
    seen.sort(key=lambda key: (ORDER.index(key[0]), models.index(key[1]), key[2] != ""))
    out = []
    for key in seen:
        one, ms = last[key], spent[key]
        total = Stage(one.name, one.model, sum(ms), counts[key], one.inside, computing[key])
        peak = peaks.get(one.model) if counts[key].get("flops") else None
        share = sum(ms) / whole if whole > 0 else 0.0
        gflops = None if peak is None else peak / 1e9
        out.append(StageSummary(total, len(ms), percentiles(ms), share, gflops))
    return tuple(out)
