"""The network: a causal transformer over items, whose embeddings are part free, part text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2Model

__all__ = ["GAP_BUCKETS", "SPREAD", "Network", "gap_vectors", "transformer"]

#: 0 = unknown, 1 = the same time, then by powers of two of the seconds, up to some two years
GAP_BUCKETS = 28

#: standard deviation of fresh weights, that of GPT-2
SPREAD = 0.02


def gap_vectors(size: int) -> nn.Embedding:
    """A fresh vector for each bucket of time between two events."""
    out = nn.Embedding(GAP_BUCKETS, size)
    nn.init.normal_(out.weight, std=SPREAD)
    return out


def transformer(*, size: int, layers: int, heads: int, dropout: float, length: int) -> GPT2Model:
    """GPT-2's blocks, fresh, to be given embeddings of width ``size``."""
    blocks = GPT2Model(
        GPT2Config(
            vocab_size=1,  # tokens come as embeddings
            bos_token_id=None,
            eos_token_id=None,
            n_positions=length,
            n_embd=size,
            n_layer=layers,
            n_head=heads,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
        )
    )
    blocks.wte.requires_grad_(False)
    return blocks


class Network(nn.Module):  # type: ignore[misc]
    """GPT-2's blocks (Radford et al. 2019) over item embeddings, as in SASRec.

    SASRec: Kang and McAuley 2018, arXiv:1808.09781. The embedding of item ``i`` is
    ``free_i + P text_i``: a vector of its own, and a projection of its text's vector, either of
    which may be missing. The same embeddings are read and foretold (tied weights).

    Args:
        items: W, how many items there are.
        texts: (W, D) float32 vectors of the items' texts, zeros where there is none; ``None`` =
            free vectors only. They are not trained.
        free: (W,) bool: which items have a vector of their own.
        size: of an embedding.
        layers: blocks.
        heads: attention heads of a block.
        dropout: share of what is dropped in training.
        length: longest sequence.
        gaps: whether gaps in time are read.
    """

    texts: Tensor | None

    def __init__(
        self,
        items: int,
        texts: Tensor | None,
        free: Tensor,
        *,
        size: int,
        layers: int,
        heads: int,
        dropout: float,
        length: int,
        gaps: bool,
    ) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.randn(items, size) * SPREAD * free[:, None])
        self.register_buffer("texts", texts, persistent=False)
        if texts is not None:
            self.projection = nn.Linear(texts.shape[1], size, bias=False)
            nn.init.normal_(self.projection.weight, std=SPREAD)
        self.gaps = gap_vectors(size) if gaps else None
        self.blocks = transformer(
            size=size, layers=layers, heads=heads, dropout=dropout, length=length
        )

    def table(self, keep: Tensor | None = None) -> Tensor:
        """(W, size): every item's embedding.

        Args:
            keep: (W,) 1 or 0: whether the free vector takes part; ``None`` = all do.
        """
        out: Tensor = self.free if keep is None else self.free * keep[:, None]
        return out if self.texts is None else out + self.projection(self.texts)

    def forward(self, items: Tensor, gaps: Tensor, table: Tensor) -> Tensor:
        """(B, T, size): what is known after each event; padding stands on the right.

        Args:
            items: (B, T) int64 columns of ``table``; padding may be any.
            gaps: (B, T) int64 buckets of the time since the event before.
            table: what `table` gave.
        """
        scale = table.shape[1] ** 0.5  # fresh embeddings are small beside the blocks' outputs
        told = functional.embedding(items, table)
        if self.gaps is not None:
            told = told + self.gaps(gaps)
        # no mask: padding stands on the right, where a causal block does not look
        out: Any = self.blocks(inputs_embeds=told * scale, use_cache=False)
        states: Tensor = out.last_hidden_state
        return states
