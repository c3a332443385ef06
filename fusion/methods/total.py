"""The fused scores of any number of queries, in bounded memory, and their explanation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.methods.addition import total
from fusion.methods.base import WorthMethod, chunks
from fusion.normalizations.segments import FloatArray
from fusion.protocols import Explain, Method
from fusion.ragged import whole_segments

__all__ = ["explain_by", "fused_scores", "total"]


def fused_scores(method: Method, candidates: Candidates, weights: FloatArray) -> FloatArray:
    """(N,) float64: the scores by ``method``, a range of queries at a time.

    What is worked out for a range is forgotten before the next, so that what is allocated beside
    the scores does not grow with the number of queries.
    """
    out = np.empty(len(candidates))
    at = 0
    for start, stop in chunks(candidates):
        part = candidates.between(start, stop)
        if isinstance(method, WorthMethod):
            scores = method.fused(part, weights)
        else:
            scores = total(method.contributions(part, weights))
        out[at : at + len(scores)] = scores
        at += len(scores)
    return out


def explain_by(method: Method, candidates: Candidates, weights: FloatArray) -> Explain:
    """See `fusion.protocols.Fused`: only the queries of the rows asked for are worked on."""

    def explain(rows: npt.NDArray[np.int64]) -> FloatArray:
        queries, at = whole_segments(candidates.offsets, rows)
        picked: FloatArray = method.contributions(candidates.take(queries), weights)[at]
        return picked

    return explain
