"""SegFuse: how often each segment is right, times the score."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from fusion.candidates import Candidates
from fusion.methods.base import ScoreConfig, ScoreMethod
from fusion.methods.positions import (
    Lists,
    PlaceMethod,
    Places,
    by_segment,
    deepest,
    least_for_unseen,
    look_up,
    precision,
    rising,
)
from fusion.normalizations.segments import FloatArray

__all__ = ["SegFuse", "SegFuseConfig"]


class SegFuseConfig(ScoreConfig):
    """Settings of `SegFuse`."""

    ends: Annotated[tuple[int, ...], AfterValidator(rising)] = Field(
        tuple(10 * 2 ** (k - 1) - 5 for k in range(1, 11)),
        description="last place of each segment, rising; by default 10 * 2^(k - 1) - 5 for k to 10",
    )


class SegFuse(PlaceMethod, ScoreMethod):
    """``sum over models of weight * P(relevant | segment) * (1 + normalised score)``.

    Segments end at fixed places and widen with depth: fine where the hits are. The probability is
    the share of relevant items in the segment, averaged over the model's training lists (places
    that a list does not reach count as misses). Inside a segment the score decides, which the
    normalisation puts between 0 and 1. A segment that no training list reached, and what lies after
    the last, gets the least that another segment got; a missing score adds nothing.

    Inputs: ranks and normalised scores.
    Requirements: out-of-window scores with labels.
    Relations: without scores, with equal parts, `fusion.methods.prob_fuse.ProbFuse`.

    Source: Shokouhi, "Segmentation of Search Engine Results for Effective Data-Fusion", ECIR 2007.
    His ``Size_k = 10 * 2^(k - 1) - 5`` is read as the place where segment ``k`` ends, as ranx reads
    it (sizes 5, 10, 20, 40...). The weights and the rule for what was never seen are ours.

    Example, in YAML::

        fusion: {mode: parallel, method: {name: seg_fuse, ends: [1, 3, 10, 30, 100]}}
    """

    Config = SegFuseConfig
    by_rank = False

    def learn(self, lists: Lists) -> FloatArray:
        """(segments,) the probability of each."""
        return least_for_unseen(precision(lists, self.config.ends))

    def at(self, place: Places, table: FloatArray, candidates: Candidates) -> FloatArray:
        """(N,) float64: the probability of each row's segment."""
        return look_up(by_segment(table, self.config.ends, deepest(candidates)), place)

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64: ``P(relevant | segment) * (1 + normalised score)``."""
        out = ScoreMethod.worth(self, candidates)
        out += 1.0
        return np.multiply(out, PlaceMethod.worth(self, candidates), out=out)
