"""Weights against exposure bias: an event with what everybody is shown says less of a user."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from finetuning.settings import Propensity

__all__ = ["weights"]


def weights(popularity: npt.ArrayLike, settings: Propensity) -> npt.NDArray[np.float32]:
    """How much an event with each item counts: (I,) float32, with a mean of 1 over the events.

    ``popularity ** -power``, at most ``clip`` times that of the most popular item (inverse
    propensity scoring; Schnabel et al. 2016, arXiv:1602.05352). The mean over the events, not over
    the items, is 1, so that losses and learning rates keep their scale.

    Args:
        popularity: (I,) events of each item, or its share of them; 0 counts as the clip does.
        settings: power and clip.

    >>> weights([8, 2], Propensity(power=1.0)).tolist()  # 1/8 and 1/2, times 5
    [0.625, 2.5]
    """
    counts = np.asarray(popularity, dtype=np.float64)
    top = counts.max(initial=0.0)
    if settings.power == 0 or top == 0:
        return np.ones(len(counts), np.float32)
    with np.errstate(divide="ignore"):
        raw = np.minimum((counts / top) ** -settings.power, settings.clip)
    return np.asarray(raw * counts.sum() / (raw * counts).sum(), dtype=np.float32)
