"""What the packed BERT reads: histories and candidates, padded in a batch or flat in a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rankers.bert_blocks import Blocks
from rankers.packing import HISTORY, pack

__all__ = ["Batch", "Flat", "make_batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """``B`` packed sequences of at most ``T`` tokens, at most ``C`` candidates each.

    Attributes:
        tokens: (B, T) int64.
        positions: (B, T) int64: from 0 in the history, and from 0 again in every candidate.
        segments: (B, T) int64, as in `rankers.packing.Packed`.
        size: ``C``.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    size: int


def make_batch(
    histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[Sequence[int]]], pad: int
) -> Batch:
    """Pack ``B`` histories with their candidates (token ids).

    A candidate's positions begin at 0 like those of a text of its own, which the encoder was
    trained on; ranked by the cosine before any training this is much the better choice.
    """
    packed = pack(histories, candidates, pad)
    lengths = np.array([len(history) for history in histories], np.int64)
    positions = packed.positions - np.where(packed.segments > HISTORY, lengths[:, None], 0)
    return Batch(
        torch.from_numpy(packed.tokens),
        torch.from_numpy(positions),
        torch.from_numpy(packed.segments),
        max(map(len, candidates), default=0),
    )


@dataclass(frozen=True, slots=True)
class Flat:
    """The ``T`` tokens of one pass, without padding.

    Attributes:
        tokens: (T,) int64.
        positions: (T,) int64, from 0 in every history and every candidate.
        types: (T,) int64: token types.
        blocks: who may look at whom.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    types: torch.Tensor
    blocks: Blocks

    def to(self, device: torch.device) -> Flat:
        """The same on ``device``."""
        tokens, positions, types = (
            x.to(device, non_blocking=True) for x in (self.tokens, self.positions, self.types)
        )
        return Flat(tokens, positions, types, self.blocks.to(device))
