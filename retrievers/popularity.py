"""Popularity: how many events an item has, the newer ones counting more if wanted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import read_arrays, write_arrays
from fusion.data.dataset import Dataset
from fusion.protocols import FitContext, RetrieverConfig
from fusion.queries import Queries
from retrievers.linear import BlockRetriever, WarmItems

__all__ = ["Popularity"]

log = logging.getLogger(__name__)

DAY = 86_400.0


class PopularityConfig(RetrieverConfig):
    """Options of `Popularity`."""

    half_life_days: float | None = Field(
        None,
        gt=0,
        description="after so many days before the newest event known an event counts half; "
        "null = every event counts one",
    )


class Popularity(BlockRetriever):
    """The same answer for everybody: each item's share of the events.

    ``score(j) = sum of w over j's events / sum of w over all events``, where ``w`` is 1, or
    ``0.5 ** (age / half_life_days)``, the age counted in days back from the newest event known.

    It needs no history, so it answers users without one. An item without an event is cold: nothing
    is known of how it would be liked, and zero would say that it is disliked.
    """

    Config: ClassVar[type[PopularityConfig]] = PopularityConfig

    _shares: npt.NDArray[np.float32]  # (W,)

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Count the events of each item."""
        data.require_events(self.name)
        events, half_life = data.interactions, self.config.half_life_days
        weights = np.ones(len(data))
        if half_life is not None and data.has_time:
            days = (events.times.max() - events.times) / DAY
            weights = np.exp2(-days / half_life)
        elif half_life is not None:
            log.warning("%s: half_life_days has no effect on data without timestamps", self.name)
        counts = np.bincount(events.items, weights=weights, minlength=data.n_items)
        self._warm = WarmItems.of(np.flatnonzero(data.popularity).astype(np.int32), data.n_items)
        self._shares = (counts[self._warm.items] / counts.sum()).astype(np.float32)

    def _knows(self, queries: Queries) -> npt.NDArray[np.bool_]:
        return np.ones(len(queries), bool)

    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        return np.tile(self._shares, (len(queries), 1))

    def save(self, folder: Path) -> None:
        """One safetensors file."""
        items = self._fitted().items
        write_arrays(folder / "popularity.safetensors", {"items": items, "shares": self._shares})

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        arrays = read_arrays(folder / "popularity.safetensors")
        self._warm = WarmItems.of(arrays["items"], data.n_items)
        self._shares = arrays["shares"]
