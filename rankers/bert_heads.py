"""Small things that every head of the BERT ranker has: where it begins, and its plain losses."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

__all__ = ["calibrated_bias", "first_slope", "label_loss", "on_sphere"]

#: a first slope of the head in the cosine; sentence encoders are trained with a temperature of 0.05
_CTR_SLOPE = 20.0
_RATING_SLOPE = 1.0


def calibrated_bias(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32], *, rating: bool
) -> float:
    """What to add to ``logits`` so that their mean says the mean of the ``labels`` (NaN = none)."""
    given = ~np.isnan(labels)
    if not given.any():
        return 0.0
    goal = float(labels[given].mean())
    if not rating:
        least = 0.5 / int(given.sum())  # finite where all labels are alike
        share = min(max(goal, least), 1 - least)
        goal = math.log(share / (1 - share))
    return goal - float(logits[given].mean())


def first_slope(*, rating: bool) -> float:
    """What an untrained head multiplies a cosine by."""
    return _RATING_SLOPE if rating else _CTR_SLOPE


def label_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    rating: bool,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean squared error or binary cross-entropy of ``logits`` over ``labels`` that are not NaN.

    Args:
        weights: of the same shape: the mean is weighted by them; ``None`` = all count the same.
    """
    given = ~torch.isnan(labels)
    x, y = logits[given], labels[given]
    loss = functional.mse_loss if rating else functional.binary_cross_entropy_with_logits
    if weights is None:
        return loss(x, y)
    w = weights[given]
    return (w * loss(x, y, reduction="none")).sum() / w.sum()


def on_sphere(x: torch.Tensor) -> torch.Tensor:
    """``x`` (..., D) with the length ``sqrt(D)``."""
    return functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5
