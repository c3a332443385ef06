"""Scores of many candidates in one pass, read from the logits of a causal LM.

A user's history and all candidates stand in one packed sequence (`rankers.packing`); the head of
the model, a third of the work at a vocabulary of 49,152, runs only on the places that are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rankers.gpt_reader import Reader
from rankers.packing import Packed, pack

__all__ = ["Unit", "last_places", "likelihoods", "plan", "yes_no"]

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Unit:
    """One row of a batch: a query and the candidates ``start:stop`` of it."""

    query: int
    start: int
    stop: int
    size: int


def plan(
    histories: Sequence[int], candidates: Sequence[Sequence[int]], longest: int, budget: int
) -> list[list[Unit]]:
    """Which candidates share a row and which rows share a batch.

    A query whose packed length exceeds ``longest`` is cut into several rows, each with the history
    again, since attention costs the square of the length. Rows are sorted by length, so that little
    is padded, and share a batch while its padded size stays within ``budget`` tokens.

    Args:
        histories: Q lengths in tokens.
        candidates: Q lists of lengths in tokens.
        longest: tokens of a row; a single candidate may exceed it.
        budget: tokens of a batch; a single row may exceed it.

    >>> [(u.query, u.start, u.stop) for u in plan([3, 3], [[2, 2], [2]], longest=6, budget=99)[0]]
    [(0, 0, 1), (0, 1, 2), (1, 0, 1)]
    """
    units: list[Unit] = []
    for query, (history, items) in enumerate(zip(histories, candidates, strict=True)):
        start, size = 0, history
        for i, length in enumerate(items):
            if i > start and size + length > longest:
                units.append(Unit(query, start, i, size))
                start, size = i, history
            size += length
        if items:
            units.append(Unit(query, start, len(items), size))
    units.sort(key=lambda unit: unit.size)  # stable: equal inputs give equal batches
    batches: list[list[Unit]] = []
    for unit in units:
        if batches and (len(batches[-1]) + 1) * unit.size <= budget:
            batches[-1].append(unit)
        else:
            batches.append([unit])
    return batches


def _batches(
    histories: Sequence[Tokens],
    candidates: Sequence[Sequence[Tokens]],
    longest: int,
    budget: int,
) -> Iterator[tuple[list[Unit], Packed]]:
    sizes = [[len(item) for item in items] for items in candidates]
    for units in plan([len(history) for history in histories], sizes, longest, budget):
        yield (
            units,
            pack(
                [histories[u.query].tolist() for u in units],
                [[item.tolist() for item in candidates[u.query][u.start : u.stop]] for u in units],
                0,
            ),
        )


def likelihoods(
    reader: Reader,
    histories: Sequence[Tokens],
    candidates: Sequence[Sequence[Tokens]],
    *,
    longest: int,
    budget: int,
) -> list[Floats]:
    """Mean log-likelihood a token of every candidate after its history.

    Args:
        reader: the model.
        histories: Q arrays of token ids, none empty.
        candidates: Q lists of arrays of token ids, none empty.
        longest: tokens of a row, see `plan`.
        budget: tokens of a batch, see `plan`.

    Returns:
        Q arrays (C,) float32, natural logarithm, never above 0.
    """
    import torch

    out = [np.empty(len(items), np.float32) for items in candidates]
    # A candidate's last token is predicted, never read: it need not be computed.
    read = [[item[:-1] for item in items] for items in candidates]
    for units, packed in _batches(histories, read, longest, budget):
        rows: list[Any] = []
        targets, counts = [], []
        for b, unit in enumerate(units):
            base = b * packed.tokens.shape[1]
            end = at = base + len(histories[unit.query])
            for item in candidates[unit.query][unit.start : unit.stop]:
                rows += [[end - 1], np.arange(at, at + len(item) - 1)]
                targets.append(item)
                counts.append(len(item))
                at += len(item) - 1
        with torch.inference_mode():
            values = reader.log_likelihood(
                packed, np.concatenate(rows).astype(np.int64), np.concatenate(targets)
            )
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)
        means = np.add.reduceat(values.astype(np.float64), starts) / counts
        _give(out, units, means)
    return out


def yes_no(
    reader: Reader,
    histories: Sequence[Tokens],
    questions: Sequence[Sequence[Tokens]],
    answers: tuple[int, int],
    *,
    longest: int,
    budget: int,
) -> list[Floats]:
    """Logit of yes less logit of no after each question; arguments as in `likelihoods`."""
    import torch

    out = [np.empty(len(items), np.float32) for items in questions]
    for units, packed in _batches(histories, questions, longest, budget):
        rows = last_places(packed)
        with torch.inference_mode():
            values = reader.answer(packed, rows, *answers)
        _give(out, units, values.float().cpu().numpy())
    return out


def last_places(packed: Packed) -> Tokens:
    """(C,) int64: the place of each candidate's last token in the flattened batch, in order."""
    segments = packed.segments
    follows = np.full_like(segments, -1)
    follows[:, :-1] = segments[:, 1:]
    return np.flatnonzero((segments > 0) & (segments != follows)).astype(np.int64)


def _give(out: list[Floats], units: list[Unit], values: npt.NDArray[Any]) -> None:
    at = 0
    for unit in units:
        count = unit.stop - unit.start
        out[unit.query][unit.start : unit.stop] = values[at : at + count]
        at += count
