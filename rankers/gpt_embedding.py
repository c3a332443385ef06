"""Vectors of texts from a causal LM's last hidden states, and their cosines.

The history's text and each item's are read after the same header; a text's vector is the mean of
its tokens' hidden states, or that of its last token. The hidden states of a language model fill a
narrow cone, so that all cosines are high; taking the mean of the items' vectors from every vector
opens it (Mu, Bhat and Viswanath 2018, "All-but-the-Top", https://arxiv.org/abs/1702.01417, of which
this is the first of two steps). Items are read once, ahead, and their vectors are saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rankers.gpt_reader import Reader
from rankers.gpt_scoring import plan
from rankers.gpt_tree import sorted_by_tokens

if TYPE_CHECKING:
    import torch

__all__ = ["cosines", "encode", "pooled"]

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def encode(
    reader: Reader,
    header: Tokens,
    texts: Sequence[Tokens],
    pooling: str,
    *,
    longest: int,
    budget: int,
) -> Floats:
    """(N, D) float32: vectors of ``texts`` (arrays of token ids, none empty) after ``header``.

    Args:
        reader: the model.
        header: token ids, not empty; not part of the mean.
        texts: those that begin alike share their first tokens' states.
        pooling: ``mean`` or ``last``.
        longest: see `rankers.gpt_scoring.plan`.
        budget: likewise.
    """
    out: Floats | None = None
    order = sorted_by_tokens(list(texts))
    asked = [[texts[i] for i in order.tolist()]]
    for units in plan(reader, [header], asked, longest=longest, budget=budget, leaves=True):
        for unit in units:
            places = np.arange(1, 1 + len(unit.tree))
            states = reader.hidden([unit.branches], places).float().cpu().numpy()
            path = unit.tree.paths
            if pooling == "last":
                vectors = states[path.max(1)]  # preorder: the last node is the highest
            else:
                kept = (path >= 0)[:, :, None]
                vectors = (states[path] * kept).sum(1) / kept.sum(1)
            if out is None:
                out = np.empty((len(texts), states.shape[1]), np.float32)
            out[order[unit.which]] = vectors
    return np.empty((0, 0), np.float32) if out is None else out


def cosines(
    histories: Floats, items: Sequence[npt.NDArray[np.integer[Any]]], vectors: Floats, center: bool
) -> list[Floats]:
    """Cosine of each history with its candidates.

    Args:
        histories: (Q, D).
        items: Q arrays (C,) of item_index.
        vectors: (I, D) of the items; NaN where an item has no text.
        center: take the mean of ``vectors`` from both first.

    Returns:
        Q arrays (C,) float32 from -1 to 1.
    """
    middle = np.zeros(histories.shape[1], np.float64)
    if center:
        known = ~np.isnan(vectors[:, 0])
        middle = vectors[known].mean(0, dtype=np.float64)
    asked = _unit(histories - middle)
    return [
        (_unit(vectors[row] - middle) @ one).astype(np.float32)
        for one, row in zip(asked, items, strict=True)
    ]


def pooled(states: torch.Tensor, text: torch.Tensor, count: int, pooling: str) -> torch.Tensor:
    """(N, D) float32: vectors of texts from their tokens' states, for training.

    Args:
        states: (R, D), text after text.
        text: (R,) int64 from 0: which text a token is of; never falling.
        count: N.
        pooling: ``mean`` or ``last``.
    """
    import torch

    if pooling == "last":
        ends = torch.searchsorted(text, torch.arange(count, device=text.device), right=True) - 1
        return states[ends].float()
    total = torch.zeros(count, states.shape[1], device=states.device)
    total = total.index_add(0, text, states.float())
    return total / torch.bincount(text, minlength=count)[:, None]


def _unit(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    norm = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    unit: npt.NDArray[np.float64] = vectors / np.maximum(norm, 1e-12)
    return unit
