"""Scoring in the shared mode: which candidates follow one history, which share a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fusion.candidates import Candidates
from fusion.queries import Queries
from fusion.work import count, timed
from rankers.bert_history import pasts
from rankers.bert_model import Flat, Net
from rankers.bert_text import Texts

__all__ = ["Encode", "Sequence", "passes", "plan", "read", "score_rows"]

#: gives the states (T, D) float32 of the tokens of a pass
Encode = Callable[[Flat], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Sequence:
    """A history and candidates that follow it.

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
    histories = [texts.history(past) for past in pasts(queries)]
    # (N,) tokens of each candidate with its two special tokens; 0 = no text
    costs = texts.candidates.lengths[candidates.items]
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
    """Sequences of like length together, at most ``batch_tokens`` tokens (or just one sequence)."""
    batch: list[Sequence] = []
    used = 0
    for sequence in sorted(sequences, key=lambda s: -s.tokens):
        if batch and used + sequence.tokens > batch_tokens:
            yield batch
            batch, used = [], 0
        batch.append(sequence)
        used += sequence.tokens
    if batch:
        yield batch


def read(
    net: Net,
    texts: Texts,
    histories: list[list[int]],
    batch: list[Sequence],
    items: npt.NDArray[np.int32],
) -> Flat:
    """The tokens of one pass over ``batch``, on the CPU.

    Args:
        histories: of each query, as `plan` gave them.
        items: (N,) item_index of each row.
    """
    parts: list[npt.NDArray[np.integer[Any]]] = []
    lengths = np.zeros((len(batch), 1 + max(len(s.rows) for s in batch)), np.int64)
    for at, sequence in enumerate(batch):
        history = np.asarray(histories[sequence.query], np.int32)
        candidates = texts.candidates.take(items[sequence.rows])
        parts += [history, candidates.values]
        lengths[at, 0] = len(history)
        lengths[at, 1 : 1 + len(sequence.rows)] = candidates.lengths
    return net.layout(np.concatenate(parts), lengths)


def score_rows(
    net: Net,
    texts: Texts,
    queries: Queries,
    candidates: Candidates,
    *,
    max_tokens: int,
    batch_tokens: int,
    encode: Encode | None = None,
) -> npt.NDArray[np.float32]:
    """(N,) float32 logits of every row; NaN without text or without history.

    A row's logit does not depend on the rows beside it, beyond rounding: of the sixth digit in
    float32, of the second in bfloat16.

    Args:
        encode: computes `Net.encode` in its stead, from what `Flat` holds.
    """
    out = np.full(len(candidates), np.nan, np.float32)
    with timed("tokenize"):
        histories, sequences = plan(queries, candidates, texts, max_tokens)
    device = next(net.parameters()).device
    found: list[tuple[list[Sequence], torch.Tensor]] = []
    with torch.inference_mode():
        for batch in passes(sequences, batch_tokens):
            with timed("tokenize"):
                flat = read(net, texts, histories, batch, candidates.items)
            with timed("forward"):
                states = None if encode is None else encode(flat)
                found.append((batch, net.logits(flat.to(device), states)))
            count(**net.cost(flat))
        with timed("forward"):  # one copy back for all passes: a GPU waits here and nowhere else
            values = [logits.float().cpu().numpy() for _, logits in found]
    for (batch, _), logits in zip(found, values, strict=True):
        for sequence, row in zip(batch, logits, strict=True):
            out[sequence.rows] = row[: len(sequence.rows)]
    return out
