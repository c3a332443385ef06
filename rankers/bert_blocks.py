"""Attention in blocks: what the packed BERT computes instead of one (T, T) matrix under a mask.

All tokens of a pass stand one after the other, without padding, so the matrices of the encoder
multiply nothing but tokens. Only attention needs to know who may look at whom. A dense mask would
have a pair for every two tokens; here a history looks at itself (``S * S`` pairs) and a candidate
at its history and at itself (``L * (S + L)`` pairs): what the mask allows and nothing else.

It is a function of transformers' attention interface, so every encoder that follows the interface
(BERT, RoBERTa, DistilBERT, ...) computes it; one that does not is refused by
`rankers.bert_model.check_encoder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["ATTENTION", "Blocks", "block_attention", "ramps"]

#: the name under which transformers knows `block_attention`
ATTENTION = "recfusion_blocks"
_NEVER = -1e30  # before a softmax; finite, so that a row of padding alone is no NaN


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where ``U`` histories of at most ``S`` tokens, with ``C`` candidates of at most ``L``, stand.

    Attributes:
        history: (U, S) int64: the place of each token among the pass's ``T``; 0 for padding.
        history_mask: (U, S) float32: 0, or -1e30 for padding.
        items: (U, C, L) int64, likewise.
        items_mask: (U, C, L) float32, likewise.
        back: (T,) int64: the place of each token in ``[history, items]``, both flattened.
        bias: added to a candidate's attention to its history; ``None`` = it does not look there.
    """

    history: torch.Tensor
    history_mask: torch.Tensor
    items: torch.Tensor
    items_mask: torch.Tensor
    back: torch.Tensor
    bias: float | None = None

    @classmethod
    def of(cls, lengths: npt.NDArray[np.int64], bias: float | None) -> Blocks:
        """From ``lengths`` (U, 1 + C): tokens of each history and its candidates, 0 = none.

        The tokens stand in that order: a history, its candidates, the next history.

        >>> blocks = Blocks.of(np.array([[2, 1, 3]]), bias=0.0)
        >>> blocks.history.tolist(), blocks.items.tolist()
        ([[0, 1]], [[[2, 0, 0], [3, 4, 5]]])
        >>> blocks.back.tolist()
        [0, 1, 2, 5, 6, 7]
        """
        starts = (np.cumsum(lengths) - lengths.ravel()).reshape(lengths.shape)
        history, here = _places(starts[:, 0], lengths[:, 0])
        items, there = _places(starts[:, 1:], lengths[:, 1:])
        back = np.empty(int(lengths.sum()), np.int64)
        back[history[here]] = np.flatnonzero(here)
        back[items[there]] = history.size + np.flatnonzero(there)
        return cls(
            torch.from_numpy(history),
            torch.from_numpy(np.where(here, 0.0, _NEVER).astype(np.float32)),
            torch.from_numpy(items),
            torch.from_numpy(np.where(there, 0.0, _NEVER).astype(np.float32)),
            torch.from_numpy(back),
            bias,
        )

    def to(self, device: torch.device) -> Blocks:
        """The same on ``device``."""
        a, b, c, d, e = (x.to(device, non_blocking=True) for x in self.tensors)
        return Blocks(a, b, c, d, e, self.bias)

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Its five tensors, in the order of the fields."""
        return self.history, self.history_mask, self.items, self.items_mask, self.back

    @property
    def single(self) -> bool:
        """Whether all is one history, which looks at itself."""
        return bool(self.history.shape[0] == 1 and self.items.shape[1] == 0)

    @property
    def pairs(self) -> int:
        """(query token, key token) pairs that one head of one layer computes, padding included."""
        (u, s), (_, c, length) = self.history.shape, self.items.shape
        seen = length + (0 if self.bias is None else s)
        return int(u * s * s + u * c * length * seen)

    def means(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean states of histories (U, D) and candidates (U, C, D) from (T, D); 0 without token."""
        return (
            _mean(states, self.history, self.history_mask),
            _mean(states, self.items, self.items_mask),
        )


def ramps(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """``0, 1, ..., n - 1`` for each ``n`` of ``lengths``, one after the other.

    >>> ramps(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    flat = lengths.ravel()
    starts = np.cumsum(flat) - flat
    ramp: npt.NDArray[np.int64] = np.arange(int(flat.sum()), dtype=np.int64)
    return ramp - np.repeat(starts, flat)


def block_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    blocks: Blocks | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of ``query``, ``key`` and ``value`` (1, H, T, d) inside ``blocks``: (1, T, H, d).

    Without ``blocks``, or with a single one, it is the usual attention, under ``attention_mask``.
    """
    if blocks is None or blocks.single:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            **{**kwargs, "is_causal": False},
        )
    (_, heads, _, size), dtype = query.shape, query.dtype
    q, k, v = query[0] * (size**-0.5 if scaling is None else scaling), key[0], value[0]
    s, (u, c, length) = blocks.history.shape[1], blocks.items.shape
    history_mask = blocks.history_mask.to(dtype)[:, None]  # (U, 1, S)

    def take(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return x.index_select(1, at.reshape(-1)).view(heads, *at.shape, size)

    # the scale is in q already
    keys, values = take(k, blocks.history), take(v, blocks.history)  # (H, U, S, d)
    history = functional.scaled_dot_product_attention(
        take(q, blocks.history), keys, values, history_mask, dropout_p=dropout, scale=1.0
    )
    parts = [history.reshape(heads, -1, size)]
    if c:  # a pass may hold nothing but histories
        queries = take(q, blocks.items)  # (H, U, C, L, d)
        mask = blocks.items_mask.to(dtype)[..., None, :]
        logits = _products(queries, take(k, blocks.items), mask)
        if blocks.bias is not None:
            queries = queries.view(heads, u, c * length, size)
            across = _products(queries, keys, history_mask + blocks.bias)  # (H, U, C * L, S)
            logits = torch.cat([across.view(heads, u, c, length, s), logits], dim=-1)
        # float32 inside: more exact, and faster than a softmax in bfloat16
        share = functional.dropout(logits.softmax(-1, dtype=torch.float32).to(dtype), dropout)
        items = share[..., share.shape[-1] - length :] @ take(v, blocks.items)
        if blocks.bias is not None:
            far = share[..., :s].reshape(heads, u, c * length, s) @ values
            items = items + far.view(heads, u, c, length, size)
        parts.append(items.reshape(heads, -1, size))
    both = torch.cat(parts, dim=1)
    return both.index_select(1, blocks.back).transpose(0, 1)[None], None


def _products(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``q @ k.T + mask`` for q (H, ..., n, d), k (H, ..., m, d), mask (..., 1, m): one kernel."""
    flat = mask.expand(len(q), *mask.shape).reshape(-1, 1, k.shape[-2])
    out = torch.baddbmm(flat, q.flatten(0, -3), k.flatten(0, -3).transpose(1, 2))
    return out.view(*q.shape[:-1], k.shape[-2])


def _places(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Places (..., L) of spans, 0 for padding, and which are none."""
    ramp = np.arange(int(lengths.max(initial=1)))  # one place at least, where all are empty
    real = ramp < lengths[..., None]
    return np.where(real, starts[..., None] + ramp, 0), real


def _mean(states: torch.Tensor, at: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    real = (mask == 0).to(states.dtype)[..., None]
    chosen = states.index_select(0, at.reshape(-1)).view(*at.shape, -1)
    return (chosen * real).sum(-2) / real.sum(-2).clamp(min=1.0)


AttentionInterface.register(ATTENTION, block_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
