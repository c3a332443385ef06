"""The steps after fusion as the engine sees them: none, or a pipeline of `fusion.after`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fusion.config import EngineConfig
from fusion.data.dataset import Catalog
from fusion.protocols import Fused
from fusion.queries import Queries
from fusion.topk import Top, top_of

if TYPE_CHECKING:
    from fusion.after.pipeline import After

__all__ = ["Outcome", "build_after", "depth_of", "outcome_of"]


@dataclass(frozen=True)
class Outcome:
    """What is shown of a batch.

    Attributes:
        top: the lists.
        removed: rule, as ``step: reason`` -> item_index of what it took out, over the whole batch.
        notes: (T,) what was done to each row of ``top``; empty where nothing was.
        propensities: (T,) probability of each row's place; empty = all 1.
    """

    top: Top
    removed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    notes: Sequence[tuple[str, ...]] = ()
    propensities: Sequence[float] = ()


def build_after(config: EngineConfig) -> After | None:
    """The pipeline of ``config.after``; ``None`` where there is no step."""
    if not config.after:
        return None
    from fusion.after.pipeline import After

    return After(config.after)


def depth_of(after: After | None, k: int) -> int:
    """How many fused items the steps need to show ``k``."""
    return k if after is None else after.depth(k)


def outcome_of(
    after: After | None,
    fused: Fused,
    queries: Queries,
    catalog: Catalog,
    k: int,
    rng: np.random.Generator,
    *,
    explain: bool = True,
) -> Outcome:
    """The first ``k`` of ``fused`` as the steps leave them."""
    if after is None:
        return Outcome(top_of(fused, k, explain=explain))
    shown = after.apply(fused, queries, catalog, k, rng, explain=explain)
    return Outcome(shown.top, shown.removed, shown.notes, shown.propensities.tolist())
