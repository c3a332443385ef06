"""What a person looks at: one recommended item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Recommendation"]


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item of a top-k list.

    Attributes:
        item_id: the caller's own id.
        score: the fused score; comparable inside one list only, higher is better.
        rank: from 1.
        contributions: what each model (and ``"context"``, ``"baseline"``... where they enter) gave
            to ``score``; they sum to it.
        title: the item's title, or its id.
    """

    item_id: str
    score: float
    rank: int
    contributions: Mapping[str, float] = field(default_factory=dict)
    title: str = ""
