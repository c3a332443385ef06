"""R-Drop: two passes with other dropout must agree (Liang, Wu et al. 2021, arXiv:2106.14448)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["r_drop_loss", "r_drop_scores", "twice"]


def r_drop_loss(logits_a: Tensor, logits_b: Tensor, valid: Tensor | None = None) -> Tensor:
    """Half of the two Kullback-Leibler divergences between two softmax distributions, mean of rows.

    ``(KL(a || b) + KL(b || a)) / 2``, in nats.

    Inputs: logits of both passes (..., C), over classes or over the candidates of a list; ``valid``
    (..., C) bool: candidates that are there, by default all. -inf and NaN stand for none as well.

    Requirements: dropout above 0, else it is 0.

    Relations: `r_drop_scores` for single logits, each of a yes-or-no question.

    Example:
        >>> logits = torch.tensor([[1.0, 2.0]])
        >>> float(r_drop_loss(logits, logits))
        0.0
    """
    there = torch.isfinite(logits_a) & torch.isfinite(logits_b)
    there = there if valid is None else there & valid
    a, b = (_log_softmax(x, there) for x in (logits_a, logits_b))
    # KL(a||b) + KL(b||a) = sum (p_a - p_b) (log p_a - log p_b)
    both = ((a.exp() - b.exp()) * (a - b)).masked_fill(~there, 0.0).sum(dim=-1)
    rows = there.any(dim=-1)
    return (both * rows).sum() / (2 * rows.sum().clamp(min=1))


def r_drop_scores(scores_a: Tensor, scores_b: Tensor) -> Tensor:
    """The same between two Bernoulli distributions given by logits, of any shape; NaN = none.

    Inputs: the logits of both passes, one of each example.

    Example:
        >>> float(r_drop_scores(torch.tensor([0.0]), torch.tensor([0.0])))
        0.0
    """
    there = ~(scores_a.isnan() | scores_b.isnan())
    a = torch.where(there, scores_a, 0.0).float()
    b = torch.where(there, scores_b, 0.0).float()
    # log p_a - log p_b of yes, less that of no, is the difference of the logits
    both = (torch.sigmoid(a) - torch.sigmoid(b)) * (a - b)
    return both.sum() / (2 * there.sum().clamp(min=1))


def twice(
    forward: Callable[[], tuple[Tensor, Any]],
    weight: float,
    divergence: Callable[[Any, Any], Tensor] = r_drop_loss,
) -> tuple[Tensor, Any]:
    """The loss of two passes that are drawn to each other, and what the first gave.

    Half of the paper's ``loss_a + loss_b + weight * divergence``, so that a weight of 0 leaves the
    plain loss, and the learning rate its meaning. With a weight of 0 there is one pass only.

    Args:
        forward: one pass in training mode: the loss, and the logits.
        weight: the paper's alpha.
        divergence: of the logits of both passes.
    """
    loss, told = forward()
    if weight == 0:
        return loss, told
    again, other = forward()
    return (loss + again + weight * divergence(told, other)) / 2, told


def _log_softmax(logits: Tensor, there: Tensor) -> Tensor:
    """Over what is there; finite everywhere, so that no gradient is NaN."""
    lowest = torch.finfo(torch.float32).min / 4
    return functional.log_softmax(torch.where(there, logits, lowest).float(), dim=-1)
