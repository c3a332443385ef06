"""The loss of the encoder: what was met next, among all the items of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetuning.r_drop import twice

__all__ = ["NextItem"]

Tokens = Sequence[Mapping[str, Tensor]]


class NextItem(nn.Module):  # type: ignore[misc]
    """Softmax of each user's cosines with the items of the batch, against the item met next.

    InfoNCE with in-batch negatives (van den Oord et al. 2018, arXiv:1807.03748), where each text is
    encoded once: a user is the unit vector of a weighted sum of the unit vectors of texts, as when
    the retriever is asked. Logits of items are corrected for how often they turn up in a batch (Yi
    et al. 2019, RecSys), and items that the user met are left out of the softmax.

    Args:
        model: a `SentenceTransformer`.
        scale: what cosines are multiplied by, the inverse of the temperature.
        r_drop: weight of the divergence between two passes with other dropout (Liang et al. 2021,
            arXiv:2106.14448); 0 = one pass.

    Inputs:
        ``features``: batches of tokens, as the model takes them, ``T`` texts in all.
        ``lesson``: ``order`` (T,) int64, the text that each of those tokens is; the first J texts
        are the items. ``members`` and ``owners`` (H,) int64 and ``shares`` (H,) float: which texts
        make up which user, and how much. ``targets`` (E,) int64, ``allowed`` (E, J) bool,
        ``log_q`` (J,) float, ``weights`` (E,) float, as in `retrievers.dense_batches.Batch`.

    Requirements:
        every user has a text; every target is allowed.

    Relations:
        with a text of its own for each user, no correction and everything allowed, this is
        sentence-transformers' `MultipleNegativesRankingLoss`.
    """

    def __init__(self, model: Any, *, scale: float, r_drop: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.r_drop = r_drop

    def forward(
        self, features: Sequence[Mapping[str, Tensor]], lesson: Mapping[str, Tensor]
    ) -> Tensor:
        """The loss, a scalar: the weighted mean over the examples."""

        def once() -> tuple[Tensor, Tensor]:
            scores = self.scores(features, lesson)
            losses = functional.cross_entropy(scores, lesson["targets"], reduction="none")
            weights = lesson["weights"]
            return (losses * weights).sum() / weights.sum(), scores

        loss, _ = twice(once, self.r_drop)
        return loss

    def scores(
        self, features: Sequence[Mapping[str, Tensor]], lesson: Mapping[str, Tensor]
    ) -> Tensor:
        """(E, J) float32 logits; -inf where an item is not allowed."""
        parts = [self.model(dict(batch))["sentence_embedding"] for batch in features]
        shuffled = functional.normalize(torch.cat(parts).float(), dim=1)
        order = lesson["order"]
        texts = torch.empty_like(shuffled).index_copy(0, order, shuffled)  # (T, D)
        items = texts[: lesson["allowed"].shape[1]]  # (J, D)
        shares = lesson["shares"][:, None] * texts[lesson["members"]]  # (H, D)
        users = shares.new_zeros(len(lesson["targets"]), shares.shape[1])
        users = functional.normalize(users.index_add(0, lesson["owners"], shares), dim=1)  # (E, D)
        logits = self.scale * users @ items.T - lesson["log_q"]
        return logits.masked_fill(~lesson["allowed"], -torch.inf)
