"""ProbFuse: how often each part of a list is right."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.candidates import Candidates
from fusion.methods.base import MethodConfig
from fusion.methods.positions import (
    Lists,
    PlaceMethod,
    Places,
    least_for_unseen,
    lengths_of,
)
from fusion.normalizations.segments import FloatArray

__all__ = ["ProbFuse", "ProbFuseConfig"]


class ProbFuseConfig(MethodConfig):
    """Settings of `ProbFuse`."""

    n_segments: int = Field(
        25,
        ge=1,
        le=10_000,
        description="equal parts that each list is cut into; the paper compares several numbers. "
        "25 is ours: parts of eight items in a list of 200",
    )


class ProbFuse(PlaceMethod):
    """``sum over models of weight * P(relevant | segment k) / k``.

    Each list is cut into ``n_segments`` parts of ``ceil(length / n_segments)`` places, so the
    deepest of them may be shorter or empty. The probability is the share of relevant items in the
    part, averaged over the model's training lists (an empty part counts as 0); dividing by the
    part's number favours what stands high. Items of one part are worth the same. A part that was
    empty in every training list gets the least that another part got; a missing score adds nothing.

    Inputs: ranks, and the length of each list.
    Requirements: out-of-window scores with labels.
    Relations: `fusion.methods.seg_fuse.SegFuse` has parts of fixed places that widen with depth.

    Source: Lillis, Toolan, Collier and Dunnion, "ProbFuse: A Probabilistic Approach to Data
    Fusion", SIGIR 2006: the variant that takes what is not judged for not relevant. The weights and
    the rule for parts never seen are ours; weights of 1 give the paper's.

    Example, in YAML::

        fusion: {mode: parallel, method: {name: prob_fuse, n_segments: 10}}
    """

    Config = ProbFuseConfig

    def learn(self, lists: Lists) -> FloatArray:
        """(n_segments,) the probability of each part, from the top."""
        n = self.config.n_segments
        size = -(-lists.length // n)
        part = (lists.place - 1) // size
        full = np.minimum((part + 1) * size, lists.length) - part * size  # places in it
        sums = np.bincount(part, weights=lists.hit / full, minlength=n)
        reached = np.bincount(part, minlength=n) > 0
        return least_for_unseen(np.where(reached, sums / max(len(lists), 1), np.nan))

    def at(self, place: Places, table: FloatArray, candidates: Candidates) -> FloatArray:
        """(N,) float64: the worth of each row's part; NaN where ``place`` is."""
        size = np.maximum(-(-lengths_of(place, candidates) // len(table)), 1)
        part = (np.fmax(place, 1).astype(np.int64) - 1) // size
        found: FloatArray = (table / np.arange(1, len(table) + 1)).take(part)
        found[np.isnan(place)] = np.nan
        return found
