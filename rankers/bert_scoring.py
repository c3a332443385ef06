"""Scoring with the BERT ranker: which candidates share a sequence, which sequences share a pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from fusion.candidates import Candidates
from fusion.queries import Queries
from rankers.bert_model import Net, make_batch
from rankers.bert_text import Texts

__all__ = ["Sequence", "passes", "plan", "score_rows"]


@dataclass(frozen=True, slots=True)
class Sequence:
    """One packed sequence.

    Attributes:
        query: whose history it begins with.
        rows: (c,) int64: the rows of the `Candidates` that follow it.
        tokens: how long it is.
    """

    query: int
    rows: npt.NDArray[np.int64]
    tokens: int


def plan(
    queries: Queries, candidates: Candidates, texts: Texts, max_tokens: int
) -> tuple[list[list[int]], list[Sequence]]:
    """Each query's history in tokens, and sequences of at most ``max_tokens`` (or one candidate).

    A query's candidates are spread evenly over as few sequences as will do. Rows without text and
    queries without history stand in no sequence.
    """
    histories = [texts.history(events) for events in queries.history]
    # (N,) tokens of each candidate with its two special tokens; 0 = no text
    costs = texts.items.lengths[candidates.items]
    costs = np.where(costs > 0, costs + 2, 0)
    sequences = []
    for q, history in enumerate(histories):
        rows = np.arange(candidates.offsets[q], candidates.offsets[q + 1])
        rows = rows[costs[rows] > 0]
        if not history or not len(rows):
            continue
        room = max(1, max_tokens - len(history))
        for piece in _cut(rows, costs[rows], room):
            sequences.append(Sequence(q, piece, len(history) + int(costs[piece].sum())))
    return histories, sequences


def _cut(
    rows: npt.NDArray[np.int64], costs: npt.NDArray[np.int64], room: int
) -> Iterator[npt.NDArray[np.int64]]:
    total = int(costs.sum())
    share = total / -(-total // room)
    start, used = 0, 0
    for i, cost in enumerate(costs.tolist()):
        if i > start and (used + cost > room or used >= share):
            yield rows[start:i]
            start, used = i, 0
        used += cost
    yield rows[start:]


def passes(sequences: list[Sequence], batch_tokens: int) -> Iterator[list[Sequence]]:
    """Sequences of like length together, at most ``batch_tokens`` with padding (or just one)."""
    batch: list[Sequence] = []
    for sequence in sorted(sequences, key=lambda s: -s.tokens):
        # the first is the longest: all are padded to it
        if batch and batch[0].tokens * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def score_rows(
    net: Net,
    texts: Texts,
    queries: Queries,
    candidates: Candidates,
    *,
    max_tokens: int,
    batch_tokens: int,
) -> npt.NDArray[np.float32]:
    """(N,) float32 logits of every row; NaN without text or without history.

    A row's logit does not depend on the rows beside it, beyond rounding: of the sixth digit in
    float32, of the second in bfloat16.
    """
    out = np.full(len(candidates), np.nan, np.float32)
    histories, sequences = plan(queries, candidates, texts, max_tokens)
    device = next(net.parameters()).device
    items = candidates.items
    with torch.inference_mode():
        for batch in passes(sequences, batch_tokens):
            packed = make_batch(
                [histories[s.query] for s in batch],
                [[texts.candidate(item) for item in items[s.rows].tolist()] for s in batch],
                texts.pad,
            )
            logits = net(
                packed.tokens.to(device),
                packed.positions.to(device),
                packed.segments.to(device),
                size=packed.size,
            )["logits"]
            for sequence, values in zip(batch, logits.float().cpu().numpy(), strict=True):
                out[sequence.rows] = values[: len(sequence.rows)]
    return out
