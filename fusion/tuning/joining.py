"""One answer from the answers of several fusions, each to queries of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.normalizations.segments import FloatArray
from fusion.protocols import Fused
from fusion.ragged import spans

__all__ = ["joined"]


def joined(parts: Sequence[Fused], where: Sequence[npt.NDArray[np.int64]]) -> Fused:
    """One answer from those to some queries each: the queries ``where[p]`` by ``parts[p]``."""
    names = tuple(dict.fromkeys(name for part in parts for name in part.parts))
    rows_of = Candidates.concatenate([part.candidates for part in parts])
    order = np.argsort(np.concatenate(where), kind="stable")  # which of them is query 0, 1, ...
    rows = spans(rows_of.offsets[order], rows_of.lengths[order])  # (N,): its row there
    scores = np.concatenate([part.scores for part in parts])[rows]
    starts = np.concatenate([[0], np.cumsum([len(part.scores) for part in parts])])

    def explain_rows(asked: npt.NDArray[np.int64]) -> FloatArray:
        out = np.zeros((len(asked), len(names)))
        at = rows[asked]
        for part, start, stop in zip(parts, starts[:-1], starts[1:], strict=True):
            mine = np.flatnonzero((at >= start) & (at < stop))
            if len(mine):
                columns = np.array([names.index(name) for name in part.parts], np.int64)
                out[np.ix_(mine, columns)] = part.explain(at[mine] - start)
        return out

    return Fused(rows_of.take(order), scores, names, explain_rows)
