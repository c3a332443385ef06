"""Folds over users: several queries of one user resemble each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fusion.ragged import spans

__all__ = ["Fold", "user_folds"]

#: rows to learn from, rows to judge by
Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def user_folds(
    users: npt.NDArray[np.int32], offsets: npt.NDArray[np.int64], n: int, rng: np.random.Generator
) -> Iterator[Fold]:
    """Rows of ``n`` folds such that no user stands on both sides of one, which would flatter.

    Args:
        users: (Q,) user_index; each -1 is somebody else.
        offsets: (Q+1,) of the queries' rows.
        n: how many folds; fewer where there are fewer users, none where there is but one.
        rng: who stands in which.
    """
    own = np.where(users < 0, -1 - np.arange(len(users)), users)
    people, person = np.unique(own, return_inverse=True)
    n = min(n, len(people))
    fold = rng.permutation(len(people))[person] % max(n, 1)
    lengths = np.diff(offsets)
    for held in range(n if n > 1 else 0):
        inside = fold == held
        yield (
            spans(offsets[:-1][~inside], lengths[~inside]),
            spans(offsets[:-1][inside], lengths[inside]),
        )
