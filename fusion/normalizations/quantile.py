"""Quantile normalisation: which share of the list a score is at least level with."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.segments import FloatArray, columns, ranks
from fusion.protocols import Normalization

__all__ = ["Quantile"]


class Quantile(Normalization):
    """The share of a model's scores in the query that are no higher: its empirical distribution.

    The best gets 1, the worst of ``n`` gets ``1 / n``. Equal scores get the same, that of the best
    placed among them; this is what sets it apart from `Rank`, which orders them by item index. So
    a list of equal scores gives 1 to all, as `MinMax` does, and a list of one item gives 1. Any
    rescaling that keeps the order of the scores changes nothing.

    Source: Bolstad, Irizarry, Astrand and Speed, "A Comparison of Normalization Methods for High
    Density Oligonucleotide Array Data Based on Variance and Bias", Bioinformatics 19(2), 2003:
    every list is brought to one distribution, here the uniform one.

    Example:
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 4]), np.arange(4, dtype=np.int32), np.float32([5, 7, 7, 1])
        ... )
        >>> Quantile().normalize(lists).ravel().tolist()
        [0.5, 1.0, 1.0, 0.25]
    """

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in (0, 1]; NaN stays NaN."""
        starts, rows = candidates.offsets[:-1], candidates.rows
        place = ranks(candidates).T
        out = np.full(place.shape, np.nan)
        for column, rank, share in zip(columns(candidates), place, out, strict=True):
            scored = np.flatnonzero(~np.isnan(rank))
            query = rows[scored]
            count = np.bincount(query, minlength=len(starts))
            first = np.cumsum(count) - count  # where each query begins among the scored rows
            rank_in = rank[scored].astype(np.int64) - 1
            at = first[query] + rank_in
            ordered = np.empty(len(scored), np.float32)
            ordered[at] = column[scored]  # query after query, the best first
            begins = np.ones(len(scored), bool)
            begins[1:] = ordered[1:] != ordered[:-1]
            begins[first[count > 0]] = True
            # the place, from 0 in its query, of the first of each run of equal scores
            position = np.arange(len(scored))
            lead = np.maximum.accumulate(np.where(begins, position, 0))
            lead -= np.repeat(first, count)
            own = count[query]
            share[scored] = (own - lead[at]) / own
        return out.T
