"""Ask real users of an engine, one at a time, and keep where the time of each request went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion.errors import DataError, explain
from fusion.profiling.machine import Machine, resident_bytes, this_machine
from fusion.profiling.summary import PERCENTILES, StageSummary, percentiles, summarise
from fusion.progress import bar
from fusion.request_profile import RequestProfile, grouped, stage_table

if TYPE_CHECKING:
    from rich.console import Group

    from fusion.serving.service import Service

__all__ = ["EngineProfile", "profile_engine"]

#: requests before the measured ones: lazy parts are made, kernels chosen, caches of texts filled
WARM_UP = 5


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """Where the time of an engine's requests goes.

    Attributes:
        stages: in the order of a request; inner ones stand below theirs and are parts of them.
        ms: percentiles of whole requests, see `PERCENTILES`.
        requests: how many were measured.
        users: how many different ones asked.
        seconds: all measured requests, one after the other.
        k: items asked for.
        deadline_ms: of each request; ``None`` = none.
        incomplete: requests that a model was left out of, because it was late or failed.
        strategy: mode of the fusion.
        strategy_hash: of the configuration.
        memory: bytes of main memory that the process holds afterwards; ``None`` = not known.
        machine: what it ran on.
    """

    stages: tuple[StageSummary, ...]
    ms: tuple[float, ...]
    requests: int
    users: int
    seconds: float
    k: int
    deadline_ms: float | None
    incomplete: int
    strategy: str
    strategy_hash: str
    memory: int | None
    machine: Machine

    def to_json(self) -> dict[str, Any]:
        """Plain values, without NaN."""
        names = (f"p{p}_ms" for p in PERCENTILES)
        return {
            "requests": self.requests,
            "users": self.users,
            "k": self.k,
            "deadline_ms": self.deadline_ms,
            "incomplete": self.incomplete,
            **{name: round(ms, 4) for name, ms in zip(names, self.ms, strict=True)},
            "requests_per_second": self.requests / self.seconds if self.seconds > 0 else None,
            "stages": [stage.to_json() for stage in self.stages],
            "strategy": self.strategy,
            "strategy_hash": self.strategy_hash,
            "resident_bytes": self.memory,
            "machine": self.machine.to_json(),
        }

    def rich(self) -> Group:
        """Tables for the terminal; what was counted is the mean of a request."""
        rows, work = [], []
        for stage in self.stages:
            spent = (f"{ms:.2f}" for ms in stage.ms)
            rows.append((stage.total, (*spent, f"{stage.share:.1%}")))
            peak = "" if stage.of_peak is None else f"{stage.of_peak:.1%}"
            work.append((stage.a_request, (peak,)))
        times = stage_table((*(f"p{p} ms" for p in PERCENTILES), "share"), rows)
        times.add_section()
        times.add_row("request", *(f"{ms:.2f}" for ms in self.ms), "100.0%", style="bold")
        return grouped(times, work, ("of peak",))

    def notes(self) -> list[str]:
        """What does not fit the table, a line each."""
        machine = self.machine
        threads = "" if machine.threads is None else f", {machine.threads} threads"
        where = "" if machine.device == "cpu" else f", {machine.device}"
        out = [
            f"{self.requests} requests of {self.users} users, k={self.k}, fusion {self.strategy}",
            f"{machine.cpu}, {machine.cores} cores{threads}{where}",
        ]
        if self.memory is not None:
            out.append(f"{self.memory / 1e6:,.0f} MB of memory")
        if self.deadline_ms is not None or self.incomplete:
            limit = "" if self.deadline_ms is None else f" with {self.deadline_ms:g} ms"
            out.append(f"{self.incomplete} requests{limit} had to leave a model out")
        return out


def profile_engine(
    engine: Service,
    *,
    users: int = 100,
    repeat: int = 1,
    k: int = 10,
    deadline_ms: float | None = None,
    progress: bool = False,
) -> EngineProfile:
    """Time requests of a random sample of the engine's users, after some that warm it up.

    Args:
        engine: fitted.
        users: how many; all of them where there are fewer. The engine's ``seed`` draws them.
        repeat: each asks so many times in a row, so that from the second time on what the models
            remember of a user is met.
        k: items asked for.
        deadline_ms: see `Engine.recommend`.
        progress: show a bar on standard error.

    Raises:
        DataError: not even one request is asked for, or no user has an event.
        ModelError: a model failed and ``serving.on_model_error`` is ``raise``.
    """
    for name, given in (("users", users), ("repeat", repeat)):
        if given < 1:
            raise DataError(explain("profile", f"{name} of at least 1", str(given)))
    data = engine.data
    known = np.flatnonzero(data.histories.lengths)
    if len(known) == 0:
        raise DataError(explain("profile", "a user with at least one event", "none"))
    rng = np.random.default_rng([engine.config.seed, *b"profile"])
    order = rng.permutation(known)
    ids = [data.users.ids[u] for u in order]
    chosen = ids[:users]
    first = (ids[users : users + WARM_UP] or chosen)[:WARM_UP]  # others, where there are any
    for user in first:
        engine.recommend(user, k, deadline_ms=deadline_ms)
    profiles: list[RequestProfile] = []
    incomplete = 0
    total = len(chosen) * repeat
    with bar("profile", total=total, unit="requests", show=progress) as advance:
        for user in chosen:
            for _ in range(repeat):
                found = engine.recommend(user, k, deadline_ms=deadline_ms, explain=True)
                assert found.profile is not None
                profiles.append(found.profile)
                incomplete += not found.complete
                advance(1)
    memory = resident_bytes()  # before the peaks are measured, which takes memory too
    ms = [profile.ms for profile in profiles]
    return EngineProfile(
        summarise(profiles, _peaks(engine, profiles)),
        percentiles(ms),
        len(ms),
        len(chosen),
        sum(ms) / 1000,
        k,
        deadline_ms,
        incomplete,
        found.strategy,
        found.strategy_hash,
        memory,
        this_machine(),
    )


def _peaks(engine: Service, profiles: list[RequestProfile]) -> dict[str, float]:
    """Peak rates of the models that counted operations; measuring them takes a moment each."""
    counted = dict.fromkeys(
        stage.model for profile in profiles for stage in profile.stages if stage.counts.get("flops")
    )
    rates = {name: engine.models[name].peak_rate() for name in counted}
    return {name: rate for name, rate in rates.items() if rate is not None}
