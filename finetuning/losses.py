"""Losses of ranking: pairs, lists, batches, and several tasks at once.

A list is a row of candidates. ``scores`` (B, C) float are the model's, higher is better;
``labels`` (B, C) float say how relevant each is, 0 = not at all, NaN = no such candidate
(padding). ``weights`` (B,) float, where given, say how much each list counts, for instance
inversely to an item's propensity. A list without a pair to compare, or without anything relevant,
adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MultiTask", "bpr", "in_batch", "lambda_loss", "ranknet", "softmax_listwise"]

Task = Literal["classification", "regression"]


def bpr(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking: what is relevant above what is not (Rendle et al. 2009).

    arXiv:1205.2618. Mean over lists of the mean over pairs of ``-log sigmoid(s+ - s-)``, where
    ``s+`` has a label above 0 and ``s-`` the label 0.

    Inputs: scores (B, C), labels (B, C) with NaN for padding, weights (B,) or none.

    Requirements: labels of 0 for what is not relevant, as of sampled negatives.

    Relations: `ranknet` also compares two relevant candidates by how relevant they are, and gives
    each pair, not each list, the same say. With one relevant candidate and lists of one length both
    are the same.

    Example:
        >>> float(bpr(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]])))  # log 2
        0.6931471824645996
    """
    above = labels > 0
    below = labels == 0
    pairs = above[:, :, None] & below[:, None, :]  # (B, C, C)
    losses = _pair_losses(scores, pairs)
    count = pairs.sum(dim=(1, 2))
    return _mean_of_lists(losses.sum(dim=(1, 2)) / count.clamp(min=1), count > 0, weights)


def ranknet(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """RankNet: every pair in the order of its labels (Burges et al. 2005, ICML).

    Mean over all pairs with ``label_i > label_j`` of ``-log sigmoid(s_i - s_j)``.

    Inputs: scores (B, C), labels (B, C) with NaN for padding, weights (B,) or none.

    Requirements: labels that can be compared inside a list, such as ratings.

    Relations: sentence-transformers' `RankNetLoss` is this in bits, that is, divided by log 2.

    Example:
        >>> float(ranknet(torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 2.0]])))  # log 2
        0.6931471824645996
    """
    pairs = labels[:, :, None] > labels[:, None, :]  # (B, C, C); a comparison with NaN is false
    each = torch.ones(len(scores), device=scores.device) if weights is None else weights
    share = pairs * each[:, None, None]
    return (_pair_losses(scores, pairs) * each[:, None, None]).sum() / _at_least(share.sum())


def softmax_listwise(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy between the softmax of the scores and the labels' shares of their sum.

    With one relevant candidate this is the sampled softmax: ``-log(exp(s+) / sum exp(s))``.

    Inputs: scores (B, C), labels (B, C) with NaN for padding, weights (B,) or none.

    Requirements: labels of 0 for what is not relevant.

    Relations: ListNet (Cao et al. 2007, ICML) takes the softmax of the labels too, and so gives
    some share to what is not relevant.

    Example:
        >>> float(softmax_listwise(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])))  # log 2
        0.6931471824645996
    """
    padding = labels.isnan()
    relevance = labels.nan_to_num(0.0).clamp(min=0.0)
    total = relevance.sum(dim=1)
    told = functional.log_softmax(scores.float().masked_fill(padding, -torch.inf), dim=1)
    # 0 x -inf is NaN, in the gradient too
    losses = -(relevance * told.masked_fill(padding, 0.0)).sum(dim=1)
    return _mean_of_lists(losses / _at_least(total), total > 0, weights)


def lambda_loss(
    scores: Tensor, labels: Tensor, weights: Tensor | None = None, *, k: int | None = None
) -> Tensor:
    """LambdaLoss, a bound of NDCG, in its form NDCG-Loss2++ (Wang et al. 2018, CIKM).

    Mean over pairs of ``-log2 sigmoid(s_i - s_j)``, each weighted by what an exchange of the two
    would do to NDCG at their ranks. The weight of the two parts against each other is that of the
    paper's authors, 10.

    Inputs: scores (B, C), labels (B, C) with NaN for padding, weights (B,) or none; ``k``: only
    pairs with a candidate among the model's first ``k`` count; none = all.

    Requirements: labels are gains as in NDCG, ``2^label - 1``.

    Relations: the same numbers as sentence-transformers' `LambdaLoss` with its defaults, for scores
    that are there already. `ranknet` has the same pairs without weights.

    Example:
        >>> lists = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0, 1.0]])
        >>> bool(lambda_loss(*lists) > lambda_loss(lists[0].flip(1), lists[1]))
        True
    """
    count = scores.shape[1]
    padding = labels.isnan()
    order = scores.detach().masked_fill(padding, -torch.inf).argsort(dim=1, descending=True)
    ranked = scores.gather(1, order)  # (B, C), the model's order
    truth = labels.gather(1, order)
    places = torch.arange(1, count + 1, device=scores.device, dtype=ranked.dtype)
    discount = torch.log2(1.0 + places)  # (C,)
    pairs = truth[:, :, None] > truth[:, None, :]  # (B, C, C); a comparison with NaN is false
    if k is not None:
        first = places <= k
        pairs = pairs & (first[:, None] | first[None, :])

    ideal = labels.nan_to_num(0.0).clamp(min=0.0).sort(dim=1, descending=True).values
    best = ((2.0**ideal - 1.0) / discount)[:, :k].sum(dim=1, keepdim=True)
    gain = (2.0 ** truth.nan_to_num(0.0).clamp(min=0.0) - 1.0) / _at_least(best)
    change = (gain[:, :, None] - gain[:, None, :]).abs()  # (B, C, C)
    near = _differences_by_distance(discount)
    exchanged = (1.0 / discount[:, None] - 1.0 / discount[None, :]).abs()
    importance = change * (_MU * near + exchanged)

    if weights is not None:
        importance = importance * weights[:, None, None]
    losses = _pair_losses(ranked, pairs) * importance / math.log(2.0)
    return losses.sum() / pairs.sum().clamp(min=1)


_MU = 10.0


def _differences_by_distance(discount: Tensor) -> Tensor:
    """(C, C): how much the discount falls from rank d to d + 1, d the distance of two places."""
    count = len(discount)
    inverse = torch.cat([1.0 / discount, 1.0 / torch.log2(discount.new_tensor([2.0 + count]))])
    fall = inverse[:-1] - inverse[1:]  # (C,): at distance 1, 2, ...
    at = torch.arange(count, device=discount.device)
    distance = (at[:, None] - at[None, :]).abs()
    return torch.where(distance > 0, fall[(distance - 1).clamp(min=0)], 0.0)


def in_batch(
    queries: Tensor,
    items: Tensor,
    *,
    scale: float = 20.0,
    log_q: Tensor | None = None,
    ids: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Softmax over the batch's own items, corrected for how often each turns up in a batch.

    An item turns up as a negative as often as it is popular. Taking ``log_q`` from its logit makes
    the sampled softmax an estimate of that over all items (Yi et al. 2019, RecSys).

    Inputs: queries (B, D) and items (B', D), B' >= B, whose first B are the queries' own and whose
    rest are more negatives; normalised here. ``log_q`` (B',) float: log of the chance that an item
    is drawn, see `finetuning.negatives.log_q`. ``ids`` (B',) int: equal ones are one item, which is
    no negative of itself. weights (B,) or none.

    Relations: without ``log_q`` and ``ids``, sentence-transformers' `MultipleNegativesRankingLoss`.

    Example:
        >>> vectors = torch.eye(2)
        >>> round(float(in_batch(vectors, vectors, scale=1.0)), 4)  # log(1 + exp(-1))
        0.3133
    """
    logits = scale * functional.normalize(queries, dim=1) @ functional.normalize(items, dim=1).T
    if log_q is not None:
        logits = logits - log_q[None, :]
    own = torch.arange(len(queries), device=logits.device)
    if ids is not None:
        twins = ids[: len(queries), None] == ids[None, :]  # (B, B')
        twins[own, own] = False
        logits = logits.masked_fill(twins, -torch.inf)
    losses = functional.cross_entropy(logits.float(), own, reduction="none")
    return _mean_of_lists(losses, torch.ones_like(losses, dtype=torch.bool), weights)


class MultiTask(nn.Module):  # type: ignore[misc]
    """Adds up the losses of several tasks on one trunk, by fixed weights or by uncertainty.

    By uncertainty (Kendall, Gal and Cipolla 2018, arXiv:1705.07115), with ``s`` the learned log
    variance of a task: ``exp(-s) * loss + s / 2`` for a classification, and half of the first part
    for a regression. A task that cannot be learnt better gets a large ``s`` and little say.

    Inputs: a loss of each task, scalars.

    Requirements: the trainer's optimizer has this module's parameters, or ``s`` stays 0; they want
    no weight decay.

    Example:
        >>> both = MultiTask({"ctr": "classification", "rating": "regression"})
        >>> both({"ctr": torch.tensor(1.0), "rating": torch.tensor(2.0)}).item()  # 1 + 2 / 2
        2.0
    """

    def __init__(
        self, tasks: Mapping[str, Task], weights: Mapping[str, float] | None = None
    ) -> None:
        """By ``weights``, one a task, or by uncertainty where there are none."""
        super().__init__()
        self.tasks = dict(tasks)
        self.weights = None if weights is None else {name: weights[name] for name in tasks}
        self.log_variance = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(())) for name in tasks if weights is None}
        )

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The sum; a task without a loss in this batch adds nothing."""
        return torch.stack([self._part(name, losses[name]) for name in losses]).sum()

    def _part(self, name: str, loss: Tensor) -> Tensor:
        if self.weights is not None:
            return self.weights[name] * loss
        s = self.log_variance[name]
        half = 0.5 if self.tasks[name] == "regression" else 1.0
        return half * torch.exp(-s) * loss + s / 2


def _pair_losses(scores: Tensor, pairs: Tensor) -> Tensor:
    """(B, C, C) ``-log sigmoid(s_i - s_j)`` where ``pairs`` is true, else 0."""
    steps = scores[:, :, None] - scores[:, None, :]
    # what is masked before the logarithm has no NaN in its gradient
    return -functional.logsigmoid(steps.masked_fill(~pairs, 0.0).float()) * pairs


def _mean_of_lists(losses: Tensor, counts: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted mean of ``losses`` (B,) over the lists that count (B,) bool."""
    each = counts.to(losses.dtype) if weights is None else counts * weights
    return (losses * each).sum() / _at_least(each.sum())


def _at_least(total: Tensor) -> Tensor:
    """``total``, or 1 where it is 0: a sum of nothing stays 0."""
    return torch.where(total > 0, total, 1.0)
