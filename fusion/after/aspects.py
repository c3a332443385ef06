"""What a query's history says of the values of a field."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.after.step import StepContext
from fusion.data.fields import FieldValues

__all__ = ["Aspects", "aspects_of"]

FloatArray = npt.NDArray[np.float64]

#: (G,) share of each value in the history, (P, G) share of each value in each item
Aspects = tuple[FloatArray, FloatArray]


def aspects_of(
    items: npt.NDArray[np.int32],
    q: int,
    context: StepContext,
    half_life: float | None,
) -> Aspects:
    """The ``G`` values that occur in the history of ``q`` or among ``items``, as distributions.

    An item's distribution is even over its values, all 0 where it has none. The history's is the
    mean over its events that have values, an event of ``half_life`` events ago counting half; all
    0 where there is none.

    Returns:
        (G,) float64 and (P, G) float64; a row's sum is 1 or 0.
    """
    values: FieldValues = context.bound
    history = context.queries.history[q]
    member = values.members(np.concatenate([history, items])).astype(np.float64)
    member /= np.maximum(member.sum(axis=1, keepdims=True), 1)
    past, own = member[: len(history)], member[len(history) :]
    age = np.arange(len(history))[::-1]
    weight = np.ones(len(history)) if half_life is None else np.exp2(-age / half_life)
    total = weight @ past
    return (total / total.sum() if total.sum() > 0 else total), own
