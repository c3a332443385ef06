"""MAPFuse: reciprocal ranks, each model heard as much as it was right."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.methods.positions import Lists, PlaceMethod, Places
from fusion.normalizations.segments import FloatArray

__all__ = ["MAPFuse"]


class MAPFuse(PlaceMethod):
    """``sum over models of weight * MAP / rank``.

    One number is learnt of each model: its mean average precision over the training queries in
    which it gave a score. Where each query has one relevant item, that is its mean reciprocal rank.
    Few queries are enough, and any depth has a worth. A missing score adds nothing.

    Inputs: ranks only.
    Requirements: out-of-window scores with labels. Relevant items that are no candidates at all
    are not known of, and not counted.
    Relations: `fusion.methods.rrf.RRF` with ``k=0`` and the MAPs for weights.

    Source: Lillis, Zhang, Toolan, Collier, Leonard and Dunnion, "Estimating Probabilities for
    Effective Data Fusion", SIGIR 2010. The weights are ours; all 1 gives the paper's.

    Example, in YAML::

        fusion: {mode: parallel, method: map_fuse}
    """

    monotone = True

    def learn(self, lists: Lists) -> FloatArray:
        """(1,) the mean average precision; 0 without any list."""
        found = np.flatnonzero(lists.hit)
        found = found[np.lexsort((lists.place[found], lists.query[found]))]
        query = lists.query[found]
        hits = np.arange(len(found)) - np.searchsorted(query, query) + 1  # so far in its list
        precisions = hits / lists.place[found] / lists.relevant[found]
        return np.array([precisions.sum() / max(len(lists), 1)])

    def at(self, place: Places, table: FloatArray, candidates: Candidates) -> FloatArray:
        """(N,) float64: ``MAP / rank``."""
        worth: FloatArray = np.divide(table[0], place, dtype=np.float64)
        return worth
