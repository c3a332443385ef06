"""Which segment a query belongs to, and how its weights are held to those of all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, model_validator

from fusion.errors import ConfigError, explain
from fusion.protocols import ComponentConfig
from fusion.queries import Queries

__all__ = ["Segments", "SegmentsConfig", "shrunk"]


class SegmentsConfig(ComponentConfig):
    """Groups of queries with weights of their own."""

    by: Literal["history_length", "cold"] = Field(
        description="`history_length`: by how many events the history has; `cold`: shorter than "
        "`below`, or not"
    )
    edges: list[int] = Field(
        [5, 20], description="history_length: the first length of each segment but the first"
    )
    below: int = Field(5, ge=1, description="cold: a history shorter than this is cold")
    prior: float = Field(
        200.0,
        ge=0,
        allow_inf_nan=False,
        description="the weights of all queries count as so many queries: a segment of n has "
        "(n * own + prior * global) / (n + prior)",
    )
    min_queries: int = Field(
        50, ge=1, description="a segment of fewer queries has the weights of all"
    )

    @model_validator(mode="after")
    def _check_edges(self) -> Self:
        rising = all(low < high for low, high in pairwise((0, *self.edges)))
        if not self.edges or not rising:
            got = str(list(self.edges))
            raise ConfigError(explain("edges", "at least one length above 0, rising", got))
        return self

    @property
    def bounds(self) -> tuple[int, ...]:
        """The first length of each segment but the first."""
        return tuple(self.edges) if self.by == "history_length" else (self.below,)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the segments: ``"0-4"``, ``"5-19"``, ``"20+"``; or ``"cold"``, ``"warm"``."""
        if self.by == "cold":
            return ("cold", "warm")
        starts = (0, *self.bounds)
        closed = [
            f"{low}-{high - 1}" if high - 1 > low else str(low) for low, high in pairwise(starts)
        ]
        return (*closed, f"{starts[-1]}+")

    def of(self, queries: Queries) -> npt.NDArray[np.int64]:
        """(Q,) int64: the number of each query's segment, from its own history only."""
        lengths = queries.history.lengths
        return np.searchsorted(np.array(self.bounds), lengths, side="right").astype(np.int64)


def _from_name(raw: Any) -> Any:
    return {"by": raw} if isinstance(raw, str) else raw


#: ``history_length``, or ``{by: history_length, edges: [5, 20]}``
Segments = Annotated[SegmentsConfig, BeforeValidator(_from_name)]


def shrunk(
    own: Sequence[float], everybody: Sequence[float], n: int, prior: float
) -> tuple[float, ...]:
    """``(n * own + prior * everybody) / (n + prior)``: convex if both are.

    The shape of an empirical Bayes estimate (Efron and Morris, "Stein's estimation rule and its
    competitors", Journal of the American Statistical Association 68, 1973): the fewer queries a
    segment has, the less it may differ.

    >>> shrunk((1.0, 0.0), (0.5, 0.5), 100, 100)
    (0.75, 0.25)
    """
    mixed = (n * np.array(own) + prior * np.array(everybody)) / (n + prior)
    return tuple(mixed.tolist())
