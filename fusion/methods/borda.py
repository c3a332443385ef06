"""Borda fusion: a ballot for each model."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.methods.base import WorthMethod
from fusion.normalizations.segments import FloatArray, ranks, sums

__all__ = ["Borda"]


class Borda(WorthMethod):
    """``sum over models of weight * points``.

    Of ``c`` candidates a model's best gets ``c`` points, the next ``c - 1``, and so on; those that
    it gave no score share the points that are left, which is the method's own rule for missing
    scores (under ``lowest`` they get the points of its last instead).

    Source: Aslam and Montague, "Models for Metasearch", SIGIR 2001, section 4: Borda-fuse, and with
    weights weighted Borda-fuse.
    """

    by_rank = True
    monotone = True

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64: the points, from the number of candidates down to 1 or more."""
        place = ranks(candidates).T.astype(np.float64)
        count = np.repeat(candidates.lengths + 1.0, candidates.lengths)
        return np.subtract(count, place, out=place)

    def settle(self, worth: FloatArray, candidates: Candidates) -> None:
        """Share what is left: the mean of the points from 1 to candidates less scored ones."""
        for m, column in enumerate(worth):
            gone = np.isnan(column)
            if gone.any():
                scored = sums(~np.isnan(candidates.scores[:, m]), candidates.offsets)
                left = (candidates.lengths - scored + 1.0) / 2.0
                np.copyto(column, np.repeat(left, candidates.lengths), where=gone)
