"""The network of a user who is a sequence of texts: a causal transformer over items' vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from retrievers.sequential_model import gap_vectors, transformer

__all__ = ["TextNetwork"]

_SCALE = 12.0  # of the cosines at the start of training; it is learnt


class TextNetwork(nn.Module):  # type: ignore[misc]
    """GPT-2's blocks over projected vectors of the items' texts; nothing knows an item by its id.

    The embedding of an item is the unit vector of ``P (text - mean of the texts)`` and what is
    foretold a unit vector too, so that logits are cosines times a learned scale and an index of
    unit vectors finds what the network foretells. Text-only sequential recommendation as in
    UniSRec (Hou et al. 2022, KDD, arXiv:2206.05941), with one linear map instead of its experts.

    Args:
        texts: (W, D) float32 vectors of the items' texts; they are not trained and not saved.
        size: of an embedding.
        layers: blocks.
        heads: attention heads of a block.
        dropout: share of what is dropped in training.
        length: longest sequence.
        gaps: whether gaps in time are read.
    """

    texts: Tensor

    def __init__(
        self,
        texts: Tensor,
        *,
        size: int,
        layers: int,
        heads: int,
        dropout: float,
        length: int,
        gaps: bool,
    ) -> None:
        super().__init__()
        self.register_buffer("texts", texts, persistent=False)
        self.projection = nn.Linear(texts.shape[1], size)
        with torch.no_grad():  # vectors of one domain share a direction, which tells nothing
            self.projection.bias.copy_(-self.projection.weight @ texts.mean(dim=0))
        self.log_scale = nn.Parameter(torch.tensor(math.log(_SCALE)))
        self.gaps = gap_vectors(size) if gaps else None
        self.blocks = transformer(
            size=size, layers=layers, heads=heads, dropout=dropout, length=length
        )

    def embedded(self, texts: Tensor) -> Tensor:
        """(N, size) unit vectors of the items whose texts have these (N, D) vectors."""
        return functional.normalize(self.projection(texts), dim=1)

    def table(self, keep: Tensor | None = None) -> Tensor:
        """(W, size): every item's embedding; ``keep`` is for networks with other vectors too."""
        return self.embedded(self.texts)

    def forward(self, items: Tensor, gaps: Tensor, table: Tensor) -> Tensor:
        """(B, T, size): what is foretold after each event, as long as the learned scale.

        Args:
            items: (B, T) int64 rows of ``table``; padding, on the right, may be any.
            gaps: (B, T) int64 buckets of the time since the event before.
            table: (R, size) unit vectors.
        """
        told = functional.embedding(items, table) * table.shape[1] ** 0.5
        if self.gaps is not None:
            told = told + self.gaps(gaps)
        # no mask: padding stands on the right, where a causal block does not look
        states: Tensor = self.blocks(inputs_embeds=told, use_cache=False).last_hidden_state
        return functional.normalize(states, dim=-1) * self.log_scale.exp()
