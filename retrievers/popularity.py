"""Popularity: how many events an item has, the newer ones counting more, for all or by segment."""

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
from retrievers.popularity_segments import Segments

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
    segment: str | None = Field(
        None,
        description="a field of the items, as `categories`: popularity within the values of it "
        "that the asker's newest items have; null = the same answer for everybody",
    )
    recent: int = Field(
        10, ge=1, description="segment: so many newest events of the asker say the values"
    )
    overall: float = Field(
        0.1,
        ge=0,
        le=1,
        description="segment: share of the popularity with everybody in the score, so that an "
        "item outside of the asker's values has one too",
    )


class Popularity(BlockRetriever):
    """Each item's share of the events.

    ``share(j) = sum of w over j's events / sum of w over all events``, where ``w`` is 1, or
    ``0.5 ** (age / half_life_days)``, the age counted in days back from the newest event known.
    Without a ``segment`` that is the score, the same for everybody.

    With ``segment`` the score is a mixture over the values ``v`` of that field::

        score(j) = overall * share(j) + (1 - overall) * sum over v of taste(v) * share(j given v)

    ``taste(v)`` is the share of ``v`` among the values of the asker's ``recent`` newest items, and
    ``share(j given v)`` that of ``j`` among the events on items of value ``v``; an item, or an
    event, of several values counts for each with an equal part. So ``recent: 1`` asks within the
    categories of the newest item, and a field that each item has once (a brand, a shop) splits the
    catalogue. Mixing with the whole is Jelinek-Mercer smoothing (Jelinek and Mercer, 1980). Whose
    newest items have no value gets ``share(j)``.

    It needs no history, so it answers users without one. An item without an event is cold: nothing
    is known of how it would be liked, and zero would say that it is disliked.

    Raises:
        ConfigError: the items have no such field (at `fit`).
    """

    Config: ClassVar[type[PopularityConfig]] = PopularityConfig

    _shares: npt.NDArray[np.float32]  # (W,)
    _segments: Segments | None = None

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
        counts = np.bincount(events.items, weights=weights, minlength=data.n_items).astype(float)
        self._warm = WarmItems.of(np.flatnonzero(data.popularity).astype(np.int32), data.n_items)
        self._shares = (counts[self._warm.items] / counts.sum()).astype(np.float32)
        self._segments = None
        if self.config.segment is not None:
            self._segments = Segments.of(
                data.catalog, self.config.segment, counts, self._warm.items, self.name
            )

    def _knows(self, queries: Queries) -> npt.NDArray[np.bool_]:
        return np.ones(len(queries), bool)

    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        block = np.tile(self._shares, (len(queries), 1))
        if self._segments is None:
            return block
        config = self.config
        inside, known = self._segments.shares(queries.newest(config.recent))
        block[known] *= np.float32(config.overall)
        block[known] += np.float32(1 - config.overall) * inside
        return block

    def save(self, folder: Path) -> None:
        """One safetensors file."""
        arrays = {"items": self._fitted().items, "shares": self._shares}
        if self._segments is not None:
            arrays |= self._segments.arrays()
        write_arrays(folder / "popularity.safetensors", arrays)

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        arrays = read_arrays(folder / "popularity.safetensors")
        self._warm = WarmItems.of(arrays["items"], data.n_items)
        self._shares = arrays["shares"]
        self._segments = (
            None if self.config.segment is None else Segments.read(arrays, len(self._warm))
        )
