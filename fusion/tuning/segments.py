"""Which segment a query belongs to, and how its weights are held to those of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, model_validator

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.data.dataset import Catalog
from fusion.data.fields import FieldValues, values_of
from fusion.errors import ConfigError, DataError, explain
from fusion.protocols import ComponentConfig
from fusion.queries import Queries
from fusion.ragged import Ragged

__all__ = ["NO_DOMAIN", "Segmentation", "Segments", "SegmentsConfig", "shrunk"]

#: the segment of histories without any value of the field
NO_DOMAIN = "(none)"


class SegmentsConfig(ComponentConfig):
    """Groups of queries with weights of their own."""

    by: Literal["history_length", "cold", "domain"] = Field(
        description="`history_length`: by how many events the history has; `cold`: shorter than "
        "`below`, or not; `domain`: by the commonest value of `field` in the history"
    )
    field: str = Field("categories", description="domain: the item field")
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

    def bind(self, catalog: Catalog | None, who: str) -> Segmentation:
        """The segments over the items of ``catalog``.

        Raises:
            ConfigError: the catalogue has no such field.
            DataError: domains without a catalogue.
        """
        if self.by != "domain":
            return Segmentation(self)
        if catalog is None:
            raise DataError(explain(who, "the items, for segments by domain", "no catalogue"))
        return Segmentation(self, values_of(catalog, self.field, who))

    def load(self, folder: Path) -> Segmentation:
        """What `Segmentation.save` wrote."""
        if self.by != "domain":
            return Segmentation(self)
        names = tuple(read_json(folder / "domains.json"))
        arrays = read_arrays(folder / "domains.safetensors")
        of_item = Ragged(arrays["offsets"], arrays["values"])
        return Segmentation(self, FieldValues(self.field, names, of_item))


@dataclass(frozen=True)
class Segmentation:
    """Segments that know the items.

    Attributes:
        config: what they are.
        values: of the field that domains are made of; ``None`` for other segments.
    """

    config: SegmentsConfig
    values: FieldValues | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """``"0-4"``, ``"5-19"``, ``"20+"``; ``"cold"``, ``"warm"``; or the domains, `NO_DOMAIN`."""
        if self.values is not None:
            return (*map(str, self.values.names), NO_DOMAIN)
        if self.config.by == "cold":
            return ("cold", "warm")
        starts = (0, *self.config.bounds)
        closed = [
            f"{low}-{high - 1}" if high - 1 > low else str(low) for low, high in pairwise(starts)
        ]
        return (*closed, f"{starts[-1]}+")

    def of(self, queries: Queries) -> npt.NDArray[np.int64]:
        """(Q,) int64: the number of each query's segment, from its own history only."""
        if self.values is not None:
            return _domains(queries.history, self.values)
        lengths = queries.history.lengths
        return np.searchsorted(np.array(self.config.bounds), lengths, side="right").astype(np.int64)

    def save(self, folder: Path) -> None:
        """``domains.json`` and ``domains.safetensors``, where there are domains."""
        if self.values is not None:
            of_item = self.values.of_item
            write_json(folder / "domains.json", list(self.values.names))
            write_arrays(
                folder / "domains.safetensors",
                {"offsets": of_item.offsets, "values": of_item.values},
            )


def _domains(history: Ragged, values: FieldValues) -> npt.NDArray[np.int64]:
    """(Q,) int64: the commonest value of each history, of equal ones the first by name."""
    width, owner = np.int64(len(values.names)), history.rows
    own = values.of_item.take(history.values)
    keys, counts = np.unique(owner[own.rows] * width + own.values, return_counts=True)
    out = np.full(len(history), width)
    # the last that is written stays: the commonest, and of those the lowest code
    order = np.lexsort((-keys, counts))
    out[keys[order] // max(width, 1)] = keys[order] % max(width, 1)
    return out


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
