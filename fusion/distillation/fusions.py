"""How a student's scores may be merged with the retrievers', to agree with a teacher."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.distillation.lessons import Lessons
from fusion.normalizations.z_score import ZScore
from fusion.pool import LivePool

__all__ = ["fusions_of", "least_squares_weights"]


def fusions_of(
    student: str,
    retrievers: tuple[str, ...],
    candidates: int,
    pool: LivePool | None = None,
    lessons: Lessons | None = None,
) -> list[dict[str, Any]]:
    """What may stand under ``fusion:`` in a student's engine, the simplest first.

    All are cascades: reciprocal ranks of the retrievers choose ``candidates``, which are then
    judged by the student alone, or by reciprocal ranks of all, or by a weighted sum of all z-scores
    whose weights come nearest the teacher's scores (see `least_squares_weights`).

    Args:
        student: the ranker's name.
        retrievers: their names.
        candidates: how many the student orders.
        pool: of held-out queries, to learn weights on; without it there is no weighted sum.
        lessons: what the teacher says of them.
    """
    first = {"models": list(retrievers), "method": "rrf", "keep": candidates}
    everyone = (*retrievers, student)
    last: list[dict[str, Any]] = [{"models": [student]}, {"models": list(everyone)}]
    if pool is not None and lessons is not None:
        columns = pool.complete(
            Candidates.bare(lessons.candidates.offsets, lessons.candidates.items), everyone
        )
        weights = least_squares_weights(columns, lessons.teacher)
        if weights:
            method = {"name": "weighted_sum", "normalization": "z_score"}
            last.append({"models": list(weights), "method": method, "weights": weights})
    return [{"mode": "serial", "stages": [first, stage]} for stage in last]


def least_squares_weights(
    columns: Candidates, teacher: npt.NDArray[np.floating]
) -> dict[str, float]:
    """Model -> weight, so that the weighted sum of z-scores is nearest the teacher's z-scores.

    Non-negative least squares (Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter
    23), over all rows of all queries at once; a missing score counts as the mean, 0. Weights sum to
    1; models without weight are left out, and nothing is left where none helps.

    Args:
        columns: every model's scores of the rows (N, M).
        teacher: (N,) z-scores; rows that are NaN are left out.
    """
    from scipy.optimize import nnls

    known = ~np.isnan(teacher)
    z = np.nan_to_num(ZScore().normalize(columns))[known]
    if not len(z):
        return {}
    found, _ = nnls(z, np.asarray(teacher, np.float64)[known])
    total = float(found.sum())
    weights = {
        m: round(float(w) / total, 4) for m, w in zip(columns.models, found, strict=True) if w > 0
    }
    return {m: w for m, w in weights.items() if w > 0} if total > 0 else {}
