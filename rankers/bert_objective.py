"""What the BERT ranker's heads are trained on: the loss of a batch of scored candidates.

Every head gives one number a candidate, and that is the score; only the loss differs:

- ``ctr``: binary cross-entropy of met next or sampled; the logit.
- ``rating``: squared error on standardised ratings.
- ``bpr``, ``ranknet``, ``softmax``, ``lambda``: the moment's own item above the sampled ones, by
  the losses of `finetuning.losses`; only differences inside a list mean something.
- ``multi_task``: ctr, and the squared error of a second head that foretells, from the same
  features, how what was met next was rated. The second head is there in training only: it shapes
  the trunk (Caruana 1997, "Multitask Learning", Machine Learning 28), and the score stays the logit
  of ctr.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from finetuning.losses import MultiTask, bpr, lambda_loss, ranknet, softmax_listwise
from finetuning.r_drop import r_drop_loss, r_drop_scores, twice
from rankers.bert_config_training import Training
from rankers.bert_heads import label_loss

__all__ = ["Objective"]

_LISTS: Mapping[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "bpr": bpr,
    "ranknet": ranknet,
    "softmax": softmax_listwise,
    "lambda": lambda_loss,
}


class Objective(nn.Module):  # type: ignore[misc]
    """The loss, and what is trained for it alone.

    Args:
        config: head, loss, weights of the tasks, R-Drop.
        features: numbers that a candidate's head reads, for the second task's.

    Attributes:
        second: the second task's head, or ``None``.
    """

    def __init__(self, config: Training, *, features: int) -> None:
        super().__init__()
        self.criterion, self.r_drop = config.criterion, config.r_drop
        self.second: nn.Linear | None = None
        self.tasks: MultiTask | None = None
        if config.head == "multi_task":
            self.second = nn.utils.skip_init(nn.Linear, features, 1)
            nn.init.zeros_(self.second.weight)  # the mean rating; nothing is drawn
            nn.init.zeros_(self.second.bias)
            fixed = {"ctr": 1.0, "rating": config.rating_weight}
            self.tasks = MultiTask(
                {"ctr": "classification", "rating": "regression"},
                fixed if config.task_weights == "fixed" else None,
            )

    @property
    def calibrates(self) -> bool:
        """Whether the scores' level means something, so that a head's bias is worth setting."""
        return self.criterion not in _LISTS

    @property
    def rating(self) -> bool:
        """Whether the score is a rating."""
        return self.criterion == "rating"

    def forward(
        self,
        scores: Tensor,
        labels: Tensor,
        *,
        features: Tensor | None = None,
        ratings: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            scores: (B, C) float32.
            labels: (B, C) float32: 1 met next, 0 sampled, or a standardised rating; NaN = none.
            features: (B, C, F) float32: what the second task's head reads.
            ratings: (B, C) float32: standardised, for the second task; NaN = none.
            weights: (B, C) float32: how much each label counts.
        """
        if self.criterion in _LISTS:
            own = None if weights is None else weights[:, 0]  # of the moment's own item
            return _LISTS[self.criterion](scores, labels, own)
        loss = label_loss(scores, labels, rating=self.rating, weights=weights)
        if self.tasks is None or self.second is None or features is None or ratings is None:
            return loss
        losses = {"ctr": loss}
        if not torch.isnan(ratings).all():
            told = self.second(features)[..., 0]
            losses["rating"] = label_loss(told, ratings, rating=True, weights=weights)
        return self.tasks(losses)

    def of(
        self,
        once: Callable[[], tuple[Tensor, Tensor | None]],
        labels: Tensor,
        *,
        ratings: Tensor | None = None,
        weights: Tensor | None = None,
        training: bool,
    ) -> dict[str, Tensor]:
        """``loss`` and ``logits`` (B, C) of one pass, or in training of two under other dropout.

        Args:
            once: a pass: scores (B, C) and features (B, C, F), which only a second task needs.
            labels, ratings, weights: see `forward`.
            training: whether R-Drop applies.
        """

        def judged() -> tuple[Tensor, Tensor]:
            scores, features = once()
            with torch.autocast(scores.device.type, enabled=False):
                loss = self(scores, labels, features=features, ratings=ratings, weights=weights)
            return loss, scores

        def apart(first: Tensor, second: Tensor) -> Tensor:
            return self.between(first, second, labels)

        loss, scores = twice(judged, self.r_drop if training else 0.0, apart)
        return {"loss": loss, "logits": scores}

    def between(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
        """How far two passes over the same candidates, (B, C) scores each, are apart.

        Half the symmetric divergence of what the scores say: the softmax over a list for the heads
        that rank, yes or no for ctr; squared error for ratings.
        """
        known = ~torch.isnan(labels)
        if self.criterion in _LISTS:
            return r_drop_loss(first, second, known)
        a, b = first[known], second[known]
        return (a - b).square().mean() if self.rating else r_drop_scores(a, b)
