"""Batches of the BERT ranker's training: which examples, in which order, as which tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from fusion.data.dataset import Dataset
from rankers.bert_config import Config
from rankers.bert_cross import make_pairs
from rankers.bert_examples import (
    NO_ITEM,
    Events,
    Examples,
    Negatives,
    next_items,
    next_ratings,
)
from rankers.bert_model import make_batch
from rankers.bert_text import Texts

__all__ = [
    "Collator",
    "Numbers",
    "by_length",
    "collator",
    "draw_examples",
    "either",
    "pair_collator",
]

Collator = Callable[[Sequence[int]], dict[str, torch.Tensor]]

_WINDOW = 16  # batches whose examples are sorted by length together


def draw_examples(
    events: Events,
    data: Dataset,
    texts: Texts,
    config: Config,
    rng: np.random.Generator,
    steps: int,
) -> tuple[Examples, Examples]:
    """Training examples in random order, and validation examples."""
    count = steps * config.batch_size
    passes = math.ceil(count / len(events.train))
    rows = np.concatenate([rng.permutation(events.train) for _ in range(passes)])[:count]
    held = events.validation
    if config.head == "rating":
        training = next_ratings(events, rows, events.ends[rows], 1 + config.negatives)
        return training, next_ratings(events, held, held + 1, 1)
    negatives = Negatives(
        data, texts.known, popular=config.popular_negatives, power=config.popularity_power
    )
    return tuple(  # type: ignore[return-value]
        next_items(events, at, negatives.draw(events.users[at], n, rng))
        for at, n in ((rows, config.negatives), (held, config.validation_candidates))
    )


def by_length(
    examples: Examples, events: Events, texts: Texts, batch: int, rng: np.random.Generator
) -> Examples:
    """The same examples in batches of like length, so that little of a batch is padding."""
    lengths = np.append(texts.items.lengths, 0)[examples.items].sum(axis=1)
    lengths += [len(texts.history(events.history(row))) for row in examples.rows.tolist()]
    order: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(examples), batch * _WINDOW):
        window = np.arange(start, min(start + batch * _WINDOW, len(examples)))
        window = window[np.argsort(lengths[window], kind="stable")]
        pieces = np.split(window, range(batch, len(window), batch))
        # an incomplete batch stays last, or the Trainer would cut all later batches elsewhere
        full = len(pieces) - (len(pieces[-1]) < batch)
        order += [pieces[i] for i in rng.permutation(full)] + pieces[full:]
    at = np.concatenate(order)
    return Examples(examples.rows[at], examples.items[at], examples.labels[at])


class Numbers(torch.utils.data.Dataset):  # type: ignore[misc]
    """``n`` example numbers; the collator makes the batch."""

    def __init__(self, n: int, offset: int = 0) -> None:
        self._n, self._offset = n, offset

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: int) -> int:
        return self._offset + i


def collator(examples: Examples, events: Events, texts: Texts) -> Collator:
    """Example numbers to the arguments of `rankers.bert_model.Net.forward`."""

    def collate(numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        at = np.asarray(numbers, np.int64)
        histories = [texts.history(events.history(row)) for row in examples.rows[at].tolist()]
        candidates = [
            [texts.candidate(item) for item in row if item != NO_ITEM]
            for row in examples.items[at].tolist()
        ]
        batch = make_batch(histories, candidates, texts.pad)
        return {
            "tokens": batch.tokens,
            "positions": batch.positions,
            "segments": batch.segments,
            "labels": torch.from_numpy(examples.labels[at]),
        }

    return collate


def pair_collator(examples: Examples, events: Events, texts: Texts) -> Collator:
    """Example numbers to the arguments of `rankers.bert_cross.CrossNet.forward`."""

    def collate(numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        at = np.asarray(numbers, np.int64)
        items = examples.items[at]
        row, column = np.nonzero(items != NO_ITEM)
        shown = [texts.shown(events.history(r)) for r in examples.rows[at].tolist()]
        pairs = make_pairs(texts, [shown[r] for r in row.tolist()], items[row, column])
        return {
            "tokens": pairs.tokens,
            "mask": pairs.mask,
            "types": pairs.types,
            "place": torch.from_numpy(row * items.shape[1] + column),
            "labels": torch.from_numpy(examples.labels[at]),
        }

    return collate


def either(training: Collator, validation: Collator, n: int) -> Collator:
    """The Trainer has one collator for both sets: numbers from ``n`` on are validation examples."""

    def collate(numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        if numbers[0] < n:
            return training(numbers)
        return validation([number - n for number in numbers])

    return collate
