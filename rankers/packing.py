"""Many candidates of one user in one sequence: the history is encoded once for all of them.

A packed sequence is the history followed by every candidate. A token sees the history and its own
candidate, never another candidate, and a candidate's positions go on where the history's end, as if
it alone followed. So one pass gives what one pass a candidate would give, and costs
``history + sum(candidates)`` tokens instead of ``sum(history + candidate)``.

For a causal model (GPT) the scores are those of the separate passes. For a bidirectional one (BERT)
the history cannot look at the candidate, which is the price of encoding it once; the model is
fine-tuned under the same mask that it is asked with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["HISTORY", "PADDING", "Packed", "attention_mask", "pack"]

PADDING = -1
HISTORY = 0


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch of ``B`` packed sequences, padded on the right to ``T`` tokens.

    Attributes:
        tokens: (B, T) int64 token ids.
        positions: (B, T) int64, from 0; a candidate's go on from its history's length.
        segments: (B, T) int64: -1 padding, 0 history, ``c + 1`` for candidate ``c``.
    """

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]


def pack(
    histories: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[Sequence[int]]],
    pad: int,
) -> Packed:
    """Lay out ``B`` histories (token ids, not empty) with their candidates (token ids).

    >>> packed = pack([[7, 8]], [[[1], [2, 3]]], pad=0)
    >>> packed.tokens.tolist(), packed.positions.tolist(), packed.segments.tolist()
    ([[7, 8, 1, 2, 3]], [[0, 1, 2, 2, 3]], [[0, 0, 1, 2, 2]])
    """
    sizes = [
        len(history) + sum(map(len, items))
        for history, items in zip(histories, candidates, strict=True)
    ]
    shape = (len(sizes), max(sizes, default=0))
    tokens = np.full(shape, pad, np.int64)
    positions = np.zeros(shape, np.int64)
    segments = np.full(shape, PADDING, np.int64)
    for row, (history, items) in enumerate(zip(histories, candidates, strict=True)):
        start = end = len(history)
        tokens[row, :end], positions[row, :end], segments[row, :end] = history, range(end), HISTORY
        for c, item in enumerate(items):
            here = slice(end, end + len(item))
            tokens[row, here] = item
            positions[row, here] = range(start, start + len(item))
            segments[row, here] = c + 1
            end += len(item)
    return Packed(tokens, positions, segments)


def attention_mask(segments: torch.Tensor, *, causal: bool, dtype: Any) -> torch.Tensor:
    """(B, 1, T, T) additive mask: 0 where token ``i`` may look at token ``j``, else the minimum.

    Padding looks at itself only, so that no row of the softmax is empty.

    Args:
        segments: (B, T) int64, as in `Packed`.
        causal: whether a token looks only at earlier ones (GPT) or both ways (BERT).
        dtype: floating dtype of the model.
    """
    import torch

    query, key = segments[:, :, None], segments[:, None, :]  # (B, T, 1), (B, 1, T)
    allowed = (query == key) | ((key == HISTORY) & (query != PADDING))
    size = segments.shape[1]
    diagonal = torch.eye(size, dtype=torch.bool, device=segments.device)
    allowed &= (query != PADDING) | diagonal
    if causal:
        allowed &= torch.ones(size, size, dtype=torch.bool, device=segments.device).tril()
    mask = torch.zeros(allowed.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
