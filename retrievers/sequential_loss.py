"""Losses of next-item prediction: full softmax, sampled softmax with logQ, gBCE."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["gbce", "sampled_softmax", "softmax"]


def softmax(states: Tensor, targets: Tensor, table: Tensor, allowed: Tensor) -> Tensor:
    """Mean cross-entropy of ``targets`` among all ``allowed`` items.

    Args:
        states: (N, size).
        targets: (N,) int64 columns.
        table: (W, size).
        allowed: (W,) bool; every target is.
    """
    logits = (states @ table.T).float().masked_fill(~allowed, -math.inf)
    return functional.cross_entropy(logits, targets)


def _logits(
    states: Tensor, targets: Tensor, table: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor]:
    """(N, 1) of the targets and (N, K) of the negatives, -inf where a negative is the target."""
    positive = (states * functional.embedding(targets, table)).sum(1, keepdim=True).float()
    negative = (states @ table[negatives].T).float()
    return positive, negative.masked_fill(negatives == targets[:, None], -math.inf)


def sampled_softmax(
    states: Tensor,
    targets: Tensor,
    table: Tensor,
    negatives: Tensor,
    log_q: Tensor,
    correction: float = 1.0,
) -> Tensor:
    """Mean cross-entropy of ``targets`` among themselves and shared sampled items.

    A sampled item's logit is lowered by the logarithm of how often it is expected in the sample,
    and so is the target's (sampled softmax: Jean et al. 2015, arXiv:1412.2007; logQ in
    retrieval: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
    recommendations", RecSys).

    Args:
        states: (N, size).
        targets: (N,) int64 columns.
        table: (W, size).
        negatives: (K,) int64 columns drawn with replacement.
        log_q: (W,) logarithm of an item's probability in one draw.
        correction: 1 = by all of it, 0 = not at all.
    """
    positive, negative = _logits(states, targets, table, negatives)
    expected = correction * (log_q + math.log(len(negatives)))
    logits = torch.cat([positive - expected[targets, None], negative - expected[negatives]], 1)
    return functional.cross_entropy(logits, torch.zeros_like(targets))


def gbce(
    states: Tensor, targets: Tensor, table: Tensor, negatives: Tensor, share: float, t: float
) -> Tensor:
    """Generalised binary cross-entropy: the positive's probability is taken to a power below 1.

    Petrov and Macdonald 2023, "gSASRec: Reducing overconfidence in sequential recommendation
    trained with negative sampling", RecSys, arXiv:2308.07192: with ``share`` = the sampled share of
    the negatives, the power is ``share * (t * (1 - 1 / share) + 1 / share)``. It is derived for
    uniform negatives.

    Args:
        states: (N, size).
        targets: (N,) int64 columns.
        table: (W, size).
        negatives: (K,) int64 columns.
        share: K over how many negatives there are; at most 1.
        t: 0 = plain binary cross-entropy, 1 = calibrated.
    """
    positive, negative = _logits(states, targets, table, negatives)
    power = share * (t * (1 - 1 / share) + 1 / share)
    # log(1 - sigmoid(x)) = -softplus(x), which is 0 at -inf
    losses = -power * functional.logsigmoid(positive) + functional.softplus(negative).sum(1, True)
    return losses.mean()
