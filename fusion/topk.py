"""The head of a fused ranking, for a batch of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.protocols import Fused
from fusion.ragged import segment_rank, spans

__all__ = ["Top", "top_of"]


@dataclass(frozen=True, slots=True)
class Top:
    """The best items of ``Q`` queries, best first.

    Attributes:
        offsets: (Q+1,) int64.
        items: (T,) int32 item_index.
        scores: (T,) float64; falling inside a query, unless a step after fusion changed the order.
        ranks: (T,) int32, from 1.
        parts: names of the contributions.
        contributions: (T, P) float64; a row sums to its score.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int32]
    parts: tuple[str, ...]
    contributions: npt.NDArray[np.float64]

    @classmethod
    def empty(cls) -> Top:
        """Of no query at all."""
        return cls(
            np.zeros(1, np.int64),
            np.empty(0, np.int32),
            np.empty(0),
            np.empty(0, np.int32),
            (),
            np.empty((0, 0)),
        )

    def matrix(self, k: int) -> npt.NDArray[np.int32]:
        """(Q, k) int32 item_index, -1 where a list is shorter."""
        out = np.full((len(self.offsets) - 1, k), -1, np.int32)
        rows = np.repeat(np.arange(len(out)), np.diff(self.offsets))
        out[rows, self.ranks - 1] = self.items
        return out

    @staticmethod
    def interleave(parts: Sequence[Top], where: Sequence[npt.NDArray[np.int64]]) -> Top:
        """One batch from several, where part ``p`` holds the queries ``where[p]``."""
        names = tuple(dict.fromkeys(name for top in parts for name in top.parts))
        lengths = np.zeros(sum(map(len, where)), np.int64)
        for top, at in zip(parts, where, strict=True):
            lengths[at] = np.diff(top.offsets)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        total = int(offsets[-1])
        out = Top(
            offsets,
            np.empty(total, np.int32),
            np.empty(total),
            np.empty(total, np.int32),
            names,
            np.zeros((total, len(names))),
        )
        for top, at in zip(parts, where, strict=True):
            rows = spans(offsets[at], lengths[at])
            out.items[rows], out.scores[rows], out.ranks[rows] = top.items, top.scores, top.ranks
            columns = np.array([names.index(name) for name in top.parts], np.int64)
            out.contributions[np.ix_(rows, columns)] = top.contributions
        return out


def top_of(fused: Fused, k: int, *, explain: bool = True) -> Top:
    """The ``k`` best rows of each query; equal scores are ordered by item index.

    Args:
        fused: what a strategy said.
        k: how many.
        explain: whether the contributions are wanted; without them there are no parts.
    """
    candidates = fused.candidates
    order, rank = segment_rank(candidates.offsets, (candidates.items, -fused.scores))
    head = order[rank[order] <= k]
    lengths = np.minimum(candidates.lengths, k)
    return Top(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        candidates.items[head],
        fused.scores[head],
        rank[head].astype(np.int32),
        fused.parts if explain else (),
        fused.explain(head) if explain else np.empty((len(head), 0)),
    )
