"""Condorcet fusion: every item against every other, by majority."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.methods.addition import total
from fusion.methods.base import WorthMethod
from fusion.methods.voices import units
from fusion.normalizations.segments import FloatArray, ranks

__all__ = ["Condorcet"]

#: pairs compared at once; their votes stay in the processor's cache
PAIRS = 2**18


class Condorcet(WorthMethod):
    """How many items of the query an item beats; a tie is half a win.

    An item beats another if the models that rank it higher weigh more than those that rank it
    lower. What a model gave no score stands, for this model, below all that it scored and level
    with the rest. A candidate that beats all others (a Condorcet winner) is therefore first, and
    where majorities go in circles, the items of the circle tie: this is Copeland's order, which
    needs no arbitrary starting point, where the paper sorts with a comparison that is not
    transitive (``docs/decisions/0005-fusion-parity.md``).

    Contributions: each win is divided among the models that voted for the winner, by their
    weights; so is the half of a tie, among all models where none had a preference.

    Two sides within a millionth of the heaviest weight tie. Time grows with the square of
    a query's candidates; memory does not (blocks of pairs).

    Source: Montague and Aslam, "Condorcet Fusion for Improved Retrieval", CIKM 2002; Copeland, "A
    Reasonable Social Welfare Function", University of Michigan, 1951. The weights are those of the
    paper's section 4.
    """

    by_rank = True
    monotone = True

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64: how many of the query's rows there are from this rank down."""
        place = ranks(candidates).T.astype(np.float64)
        count = np.repeat(candidates.lengths + 1.0, candidates.lengths)
        return np.subtract(count, place, out=place)

    def fused(self, candidates: Candidates, weights: FloatArray) -> FloatArray:
        """(N,) float64: wins and half the ties, from 0 to the other items' number."""
        place = _places(self.filled(candidates))
        votes, slack = units(weights)
        place, votes = place[votes > 0], votes[votes > 0]
        # where whole sums fit a byte: bytes are compared many at once
        votes = votes.astype(np.int8 if votes.sum() < 128 else np.int32)
        points = np.zeros(len(candidates), np.int64)  # two for a win, one for a tie
        for rows, own, other in _blocks(place, candidates):
            lead = _lead(own, other, votes)
            points[rows] += _count(lead > slack) + _count(lead >= -slack)
        return (points - 1) / 2.0  # an item ties with itself

    def contributions(self, candidates: Candidates, weights: FloatArray) -> FloatArray:
        """(N, M) float64: the wins that each model's votes brought."""
        place = _places(self.filled(candidates))
        votes, slack = units(weights)
        share = weights / max(float(weights.sum()), np.finfo(float).tiny)
        out = np.zeros((len(weights), len(candidates)))
        for rows, own, other in _blocks(place, candidates):
            lead = _lead(own, other, votes)
            value = np.where(lead > slack, 1.0, np.where(lead < -slack, 0.0, 0.5))
            mine = [share[m] * (own[m] < other[m]) for m in range(len(weights))]
            backing = total(np.stack(mine, axis=-1).reshape(value.size, -1)).reshape(value.shape)
            nobody = backing == 0.0
            each = np.divide(value, backing, out=np.zeros_like(value), where=~nobody)
            even = np.where(nobody, value, 0.0).sum(axis=-2)
            for m, part in enumerate(mine):
                out[m][rows] += (part * each).sum(axis=-2) + share[m] * even
        out -= 0.5 * share[:, None]  # an item ties with itself
        return out.T


def _places(worth: FloatArray) -> npt.NDArray[Any]:
    """(M, N): lower is better, and the highest number where there is no worth.

    As few bytes a place as hold them; whole numbers, unless a prior is none.
    """
    gone = np.isnan(worth)
    place = np.where(gone, 0.0, np.fmax.reduce(worth, axis=None, initial=0.0) - worth)
    if (place == np.rint(place)).all():
        place = place.astype(np.min_scalar_type(int(place.max(initial=0.0)) + 1))
        place[gone] = np.iinfo(place.dtype).max
    else:
        place[gone] = np.inf
    return place


def _blocks(
    place: npt.NDArray[Any], candidates: Candidates
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any]]]:
    """Some pairs at a time, of queries of one length or of one long query.

    Yields:
        ``rows`` (q, L); ``own`` (M, q, 1, L), their places, and ``other`` (M, q, J, 1), those of
        opponents, ``q * J * L`` pairs in all.
    """
    lengths, starts = candidates.lengths, candidates.offsets[:-1]
    for length in np.unique(lengths[lengths > 0]).tolist():
        first = starts[lengths == length]
        batch, opponents = max(1, PAIRS // length**2), max(1, PAIRS // length)
        for at in range(0, len(first), batch):
            rows = first[at : at + batch, None] + np.arange(length)
            found = place[:, rows]
            for j in range(0, length, opponents):
                yield rows, found[:, :, None, :], found[:, :, j : j + opponents, None]


def _lead(
    own: npt.NDArray[Any], other: npt.NDArray[Any], votes: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """(q, J, L): votes for the own item less those for its opponent, by ``votes`` (M,)."""
    lead = np.zeros(np.broadcast_shapes(own.shape[1:], other.shape[1:]), votes.dtype)
    better = np.empty(lead.shape, bool)
    alike = votes.itemsize == 1
    for mine, theirs, vote in zip(own, other, votes, strict=True):
        for compare, update in ((np.less, np.add), (np.greater, np.subtract)):
            compare(mine, theirs, out=better)
            side = better.view(np.int8)
            update(lead, side if alike and vote == 1 else side * vote, out=lead)
    return lead


def _count(true: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """(q, L): how many of the opponents' axis (q, J, L); ``J`` is below 65,536."""
    kind = np.uint8 if true.shape[1] < 256 else np.uint16
    found: npt.NDArray[Any] = np.add.reduce(true.view(np.uint8), axis=1, dtype=kind)
    return found
