"""What a person looks at: recommended items, and how the list came about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from types import MappingProxyType
from typing import Any, Literal

from fusion.request_profile import RequestProfile
from fusion.work import Work

__all__ = ["NO_CALLS", "ModelRun", "Recommendation", "Recommendations"]

Status = Literal["ok", "skipped", "late", "failed"]
NO_CALLS: Mapping[str, Work] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of a top-k list.

    Attributes:
        item_id: the caller's own id.
        score: the fused score; comparable inside one list only, higher is better; NaN for an item
            that a step after fusion inserted and no model spoke of.
        rank: from 1.
        contributions: what each model (and ``"context"``, ``"baseline"``... where they enter) gave
            to ``score``; they sum to it.
        title: the item's title, or its id.
        notes: what the steps after fusion did to it, in words.
        propensity: probability with which exploration put it in its place; 1 without exploration.
    """

    item_id: str
    score: float
    rank: int
    contributions: Mapping[str, float] = field(default_factory=dict)
    title: str = ""
    notes: tuple[str, ...] = ()
    propensity: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        return {
            "item_id": self.item_id,
            "title": self.title,
            "score": None if isnan(self.score) else self.score,
            "rank": self.rank,
            "contributions": dict(self.contributions),
            "notes": list(self.notes),
            "propensity": self.propensity,
        }


@dataclass(frozen=True, slots=True)
class ModelRun:
    """How one model did in one request.

    Attributes:
        status: ``ok``; ``skipped`` = not asked; ``late`` = asked, and its answer came too late;
            ``failed`` = it raised, or its answer was refused.
        ms: milliseconds spent on it; for a late one, until it was given up.
        reason: why it was not ``ok``; empty where it was.
        calls: ``retrieve`` and ``score`` -> what was counted in such calls; of a call that was
            given up, the milliseconds only.
    """

    status: Status
    ms: float = 0.0
    reason: str = ""
    calls: Mapping[str, Work] = field(default_factory=lambda: NO_CALLS)

    @property
    def work(self) -> dict[str, float]:
        """Everything that was counted: amounts by name, and ``<stage>_ms``; see `fusion.work`.

        ``retrieve_ms`` and ``score_ms`` are whole calls; other stages are parts of those.
        """
        total = Work()
        for work in self.calls.values():
            total.add(work)
        return total.to_json()

    @property
    def retrieve_ms(self) -> float:
        """Milliseconds spent on its list of candidates."""
        return self._ms_of("retrieve")

    @property
    def score_ms(self) -> float:
        """Milliseconds spent on scores of given candidates."""
        return self._ms_of("score")

    def _ms_of(self, kind: str) -> float:
        work = self.calls.get(kind)
        return 0.0 if work is None else 1000 * work.seconds.get(kind, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "status": self.status,
            "ms": round(self.ms, 3),
            "reason": self.reason,
            "work": self.work,
        }


class Recommendations(list[Recommendation]):
    """The items of one request, best first, and how the list came about. It is a list.

    Attributes:
        models: every model of the engine -> how it did.
        removed: rule of ``after:``, as ``step: reason`` -> ids of the items that it took out.
        strategy: mode of the fusion that answered; ``"fallback"`` for who has no history.
        strategy_hash: of the configuration in force.
        ms: milliseconds from the request to the answer.
        deadline_ms: what was allowed; ``None`` = no deadline.
        profile: the stages of the request, where ``explain`` was asked for; else ``None``.
    """

    def __init__(
        self,
        items: Iterable[Recommendation] = (),
        *,
        models: Mapping[str, ModelRun] = MappingProxyType({}),
        removed: Mapping[str, Sequence[str]] = MappingProxyType({}),
        strategy: str = "",
        strategy_hash: str = "",
        ms: float = 0.0,
        deadline_ms: float | None = None,
        profile: RequestProfile | None = None,
    ) -> None:
        super().__init__(items)
        self.models = dict(models)
        self.removed = {rule: list(ids) for rule, ids in removed.items()}
        self.strategy, self.strategy_hash = strategy, strategy_hash
        self.ms, self.deadline_ms, self.profile = ms, deadline_ms, profile

    @property
    def late(self) -> tuple[str, ...]:
        """The models that the deadline left no time for."""
        return tuple(
            name
            for name, run in self.models.items()
            if run.status == "late" or (run.status == "skipped" and "deadline" in run.reason)
        )

    @property
    def failed(self) -> tuple[str, ...]:
        """The models that failed and were left out."""
        return tuple(name for name, run in self.models.items() if run.status == "failed")

    @property
    def complete(self) -> bool:
        """Whether every model that the fusion wanted answered."""
        return not self.late and not self.failed

    def to_json(self) -> dict[str, Any]:
        """Plain values, the items under ``items``."""
        return {
            "items": [one.to_json() for one in self],
            "models": {name: run.to_json() for name, run in self.models.items()},
            "removed": self.removed,
            "late": list(self.late),
            "strategy": self.strategy,
            "strategy_hash": self.strategy_hash,
            "ms": round(self.ms, 3),
            "deadline_ms": self.deadline_ms,
            "profile": None if self.profile is None else self.profile.to_json(),
        }
