"""How well a student's order of candidates agrees with its teacher's, at the top."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates

__all__ = ["as_matrix", "top_overlap", "top_tau"]

Matrix = npt.NDArray[np.floating]


def as_matrix(candidates: Candidates, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(Q, C) float64: ``values`` (N,), one row a query; NaN behind the shorter lists."""
    width = int(candidates.lengths.max(initial=0))
    out = np.full((candidates.n_queries, width), np.nan)
    out[np.arange(width) < candidates.lengths[:, None]] = values
    return out


def top_tau(teacher: Matrix, student: Matrix, k: int = 20) -> npt.NDArray[np.float64]:
    """(Q,) Kendall's tau over the pairs that decide the teacher's first ``k``, -1..1.

    ``(concordant - discordant) / pairs`` over the pairs that the teacher orders strictly and whose
    better one is among its first ``k``. Pairs far down the list, which nobody sees, do not count; a
    tie of the student's counts as neither. Kendall, "A new measure of rank correlation",
    Biometrika 30, 1938; restricted to the top in the spirit of Fagin, Kumar and Sivakumar,
    "Comparing top k lists", SIAM J. Discrete Math. 17(1), 2003.

    >>> top_tau(np.array([[3.0, 2.0, 1.0]]), np.array([[3.0, 1.0, 2.0]]), k=1).tolist()
    [1.0]
    >>> top_tau(np.array([[3.0, 2.0, 1.0]]), np.array([[3.0, 1.0, 2.0]]), k=2).round(3).tolist()
    [0.333]

    Args:
        teacher: (Q, C) scores, higher is better; NaN = no candidate there.
        student: (Q, C) scores; NaN = no score, which is below all scores.
        k: how many of the teacher's first count.

    Returns:
        NaN where the teacher orders no pair.
    """
    first = _first(teacher, k)  # (Q, k)
    t, s = teacher, np.where(np.isnan(student), -np.inf, student)
    best_t = np.take_along_axis(t, first, axis=1)[:, :, None]  # (Q, k, 1)
    best_s = np.take_along_axis(s, first, axis=1)[:, :, None]
    pair = best_t > t[:, None, :]  # (Q, k, C); never where one is NaN
    said = (best_s > s[:, None, :]).astype(np.float64) - (best_s < s[:, None, :])
    pairs = pair.sum(axis=(1, 2))
    total = (said * pair).sum(axis=(1, 2))
    return _ratio(total, pairs)


def top_overlap(teacher: Matrix, student: Matrix, k: int = 10) -> npt.NDArray[np.float64]:
    """(Q,) the share of the teacher's first ``k`` that are among the student's first ``k``, 0..1.

    >>> top_overlap(np.array([[3.0, 2.0, 1.0]]), np.array([[3.0, 1.0, 2.0]]), k=2).tolist()
    [0.5]

    Args:
        teacher: (Q, C) scores; NaN = no candidate there.
        student: (Q, C) scores; NaN = no score, which is below all scores.
        k: length of the lists; equal scores are taken in the order they stand in.

    Returns:
        NaN for a query without candidates.
    """
    known = ~np.isnan(teacher)
    s = np.where(known & np.isnan(student), -np.inf, np.where(known, student, np.nan))
    ours, theirs = np.zeros(known.shape, bool), np.zeros(known.shape, bool)
    np.put_along_axis(theirs, _first(teacher, k), True, axis=1)
    np.put_along_axis(ours, _first(s, k), True, axis=1)
    both = (ours & theirs & known).sum(axis=1)
    size = np.minimum(known.sum(axis=1), k)
    return _ratio(both, size)


def _ratio(
    part: npt.NDArray[np.floating] | npt.NDArray[np.integer], whole: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    out = np.full(len(part), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _first(scores: Matrix, k: int) -> npt.NDArray[np.int64]:
    """(Q, min(k, C)) int64: the columns of the best ``k``, NaN last."""
    order: npt.NDArray[np.int64] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order
