"""P-values that hold for a whole family of fusions, against the best single model.

Two hundred fusions of the same models are nearly the same list many times over. Holm's correction
treats them as two hundred independent chances and pays for each; Westfall and Young's step-down
maxT, its resampling counterpart, asks how large the *largest* statistic of the family becomes when
no fusion is better, which takes their correlation as it is. So all judged queries serve both the
choice and its test, and nothing is spent on screening.

- Westfall and Young (1993), "Resampling-based multiple testing", algorithm 4.1; the statistic and
  the flips are those of the paired randomisation test (Smucker, Allan and Carterette 2007).
- Which single model is the best is not known either. A fusion must beat every one of them: its
  p-value is the largest over the models (intersection-union test: Berger 1982, "Multiparameter
  hypothesis testing and acceptance sampling"), so no luck in choosing the baseline can help it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, explain
from fusion.tournament.intervals import by_user

__all__ = ["against_all", "step_down"]

Values = npt.NDArray[np.float64]
_CELLS = 4_000_000  # draws x users, or draws x comparisons, held at once


def step_down(
    differences: Values, *, permutations: int = 9_999, rng: int | np.random.Generator = 0
) -> Values:
    """(E,) one-sided p-values of "the mean is not above 0", corrected for all E rows together.

    ``t = sum d / sqrt(sum d^2)`` over the users' summed differences ``d``. Under the hypothesis the
    sign of each user's whole column (of all rows at once) may be flipped, which keeps the rows'
    correlation and leaves the denominator as it is. The rows are stepped down from the largest t:
    each is compared with the largest among itself and the rows below it.

    Args:
        differences: (E, C) float64, a row a comparison, a column a user.
        permutations: draws; the smallest p is ``1 / (permutations + 1)``.
        rng: seed or generator.

    Raises:
        DataError: values that are not finite, or no column.
    """
    return np.asarray(_step_down(differences[None], permutations, rng)[0])


def against_all(
    fusions: Values,
    singles: Values,
    users: npt.NDArray[np.integer],
    *,
    permutations: int = 9_999,
    rng: int | np.random.Generator = 0,
) -> Values:
    """(E,) p-values of "this fusion is better than every single model", for the family of all E.

    Whatever the truth, the chance that any fusion that is not better than the best single model
    gets a p-value below alpha is at most alpha: exactly for one fusion whose values could be
    exchanged with the model's, and for a family as the number of users grows (with 250 users who
    mostly miss, 100 fusions and alpha 0.01 it was 0.012 of 500 simulated worlds, with 450 users
    0.012 and 0.002; ``docs/decisions/0011-tournament.md``).

    Args:
        fusions: (E, Q) float64, each fusion's value of each query.
        singles: (M, Q) float64, likewise of each model alone; M of at least 1.
        users: (Q,) integers, the user of each query.
        permutations: draws.
        rng: seed or generator.
    """
    if len(fusions) == 0:
        return np.empty(0)
    if len(singles) == 0:
        raise DataError(explain("against_all", "at least one single model", "none"))
    of_fusions, _ = by_user(fusions, users)
    of_singles, _ = by_user(singles, users)
    differences = of_fusions[None] - of_singles[:, None]  # (M, E, C)
    largest: Values = _step_down(differences, permutations, rng).max(axis=0)
    return largest


def _step_down(differences: Values, permutations: int, rng: int | np.random.Generator) -> Values:
    """(F, E) from (F, E, C): F families, which share the flips."""
    families, rows, users = differences.shape
    if users == 0 or not np.isfinite(differences).all():
        got = f"{differences.shape}" if users == 0 else "NaN or infinity"
        raise DataError(explain("step_down", "finite differences of at least one user", got))
    flat = differences.reshape(families * rows, users)
    norm = np.sqrt(np.square(flat).sum(axis=1))
    # where nothing differs there is nothing to see: t is 0
    unit = flat / np.where(norm > 0, norm, 1.0)[:, None]
    t = unit.sum(axis=1).reshape(families, rows)
    order = np.argsort(-t, axis=1, kind="stable")
    sorted_t = np.take_along_axis(t, order, axis=1)
    reached = sorted_t - 1e-9  # equal sums differ by rounding
    counts = np.ones((families, rows))  # the observed signs are one of the draws
    generator = np.random.default_rng(rng)
    step = max(1, _CELLS // max(users, families * rows))
    turned = np.ascontiguousarray(unit.T)  # (C, F * E)
    for start in range(0, permutations, step):
        b = min(step, permutations - start)
        noise = np.frombuffer(generator.bytes(b * ((users + 7) // 8)), np.uint8).reshape(b, -1)
        signs = 2.0 * np.unpackbits(noise, axis=1, count=users) - 1.0  # (b, C)
        drawn = (signs @ turned).reshape(b, families, rows)
        drawn = np.take_along_axis(drawn, np.broadcast_to(order, drawn.shape), axis=2)
        below = np.maximum.accumulate(drawn[:, :, ::-1], axis=2)[:, :, ::-1]
        counts += (below >= reached).sum(axis=0)
    stepped = np.maximum.accumulate(counts / (permutations + 1), axis=1)
    out = np.empty_like(stepped)
    np.put_along_axis(out, order, stepped, axis=1)
    return out
