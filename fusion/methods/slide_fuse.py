"""SlideFuse: how often a place and its neighbours are right."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.candidates import Candidates
from fusion.methods.pos_fuse import PosFuse, PosFuseConfig
from fusion.methods.positions import Places, deepest, lengths_of
from fusion.normalizations.segments import FloatArray

__all__ = ["SlideFuse", "SlideFuseConfig"]


class SlideFuseConfig(PosFuseConfig):
    """Settings of `SlideFuse`."""

    window: int = Field(
        5,
        ge=0,
        le=1_000,
        description="so many places on either side enter the average; 0 is `pos_fuse`",
    )


class SlideFuse(PosFuse):
    """``sum over models of weight * mean of P(relevant | place)`` over a window of places.

    The window reaches ``window`` places up and down, and is cut at both ends of the model's list in
    the query at hand. Smoother than `PosFuse` where few queries are relevant at a place, sharper
    than segments, which treat the places on their two sides differently. A missing score adds
    nothing.

    Inputs: ranks, and the length of each list.
    Requirements: out-of-window scores with labels.
    Relations: ``window=0`` is `PosFuse`.

    Source: Lillis, Toolan, Collier and Dunnion, "Extending Probabilistic Data Fusion Using Sliding
    Windows", ECIR 2008. The weights, the pseudo-count, the rule for places deeper than any seen
    (`PosFuse`) and the default of ``window`` are ours.

    Example, in YAML::

        fusion: {mode: parallel, method: {name: slide_fuse, window: 3}}
    """

    Config = SlideFuseConfig

    def at(self, place: Places, table: FloatArray, candidates: Candidates) -> FloatArray:
        """(N,) float64: the mean over each row's window; NaN where ``place`` is."""
        reach = self.config.window
        means = self.means(table, deepest(candidates))
        before = np.fmax(place, 1).astype(np.int64) - 1  # places above it
        below = np.clip(lengths_of(place, candidates) - 1 - before, 0, reach)
        found: FloatArray = means.ravel().take(
            np.minimum(before, len(means) - 1) * (reach + 1) + below
        )
        found[np.isnan(place)] = np.nan
        return found

    def means(self, table: FloatArray, depth: int) -> FloatArray:
        """(P, window + 1): row ``p``, column ``b`` is the mean from ``p - window`` to ``p + b``.

        Places are counted from 0 here. ``P`` is at most ``depth``: where the window lies wholly
        beyond what was seen, all rows are the same. Each mean is summed on its own, in one order:
        differences of running sums would round, and break ties.
        """
        reach = self.config.window
        rows = max(min(depth, len(table) + reach + 1), 1)
        curve = self.curve(table, rows + reach)
        padded = np.concatenate([np.zeros(reach), curve])
        out = np.empty((rows, reach + 1))
        running = np.zeros(rows)
        for step in range(2 * reach + 1):
            running += padded[step : step + rows]
            if step >= reach:
                out[:, step - reach] = running
        counts = np.minimum(np.arange(rows), reach)[:, None] + np.arange(1, reach + 2)
        out /= counts
        return out
