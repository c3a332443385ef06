"""Batches of the BERT ranker's training: which examples, in which order, as which tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from rankers.bert_cross import make_pairs
from rankers.bert_draws import draw_examples
from rankers.bert_examples import NO_ITEM, Events, Examples
from rankers.bert_history import Past
from rankers.bert_packed import make_batch
from rankers.bert_text import Texts
from rankers.bert_views import View

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


def by_length(
    examples: Examples, events: Events, texts: Texts, batch: int, rng: np.random.Generator
) -> Examples:
    """The same examples in batches of like length, so that little of a batch is padding."""
    lengths = np.append(texts.items.lengths, 0)[examples.items].sum(axis=1)
    lengths += [len(texts.history(events.past(row))) for row in examples.rows.tolist()]
    order: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(examples), batch * _WINDOW):
        window = np.arange(start, min(start + batch * _WINDOW, len(examples)))
        window = window[np.argsort(lengths[window], kind="stable")]
        pieces = np.split(window, range(batch, len(window), batch))
        # an incomplete batch stays last, or the Trainer would cut all later batches elsewhere
        full = len(pieces) - (len(pieces[-1]) < batch)
        order += [pieces[i] for i in rng.permutation(full)] + pieces[full:]
    return examples.take(np.concatenate(order))


class Numbers(torch.utils.data.Dataset):  # type: ignore[misc]
    """``n`` example numbers; the collator makes the batch."""

    def __init__(self, n: int, offset: int = 0) -> None:
        self._n, self._offset = n, offset

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: int) -> int:
        return self._offset + i


def collator(
    examples: Examples, events: Events, texts: Texts, view: View | None = None
) -> Collator:
    """Example numbers to the arguments of `rankers.bert_model.Net.forward`.

    Args:
        view: changes histories and texts, see `rankers.bert_views`; ``None`` = as they are.
    """

    def collate(numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        at = np.asarray(numbers, np.int64)
        pasts, items = _seen(examples, events, view, at)
        candidates = [
            [texts.candidate(item) for item in row if item != NO_ITEM] for row in items.tolist()
        ]
        batch = make_batch([texts.history(past) for past in pasts], candidates, texts.pad)
        return {
            "tokens": batch.tokens,
            "positions": batch.positions,
            "segments": batch.segments,
            **_targets(examples, at),
        }

    return collate


def pair_collator(
    examples: Examples, events: Events, texts: Texts, view: View | None = None
) -> Collator:
    """Example numbers to the arguments of `rankers.bert_cross.CrossNet.forward`."""

    def collate(numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        at = np.asarray(numbers, np.int64)
        pasts, items = _seen(examples, events, view, at)
        row, column = np.nonzero(items != NO_ITEM)
        shown = [texts.shown(past) for past in pasts]
        pairs = make_pairs(texts, [shown[r] for r in row.tolist()], items[row, column])
        return {
            "tokens": pairs.tokens,
            "mask": pairs.mask,
            "types": pairs.types,
            "place": torch.from_numpy(row * items.shape[1] + column),
            **_targets(examples, at),
        }

    return collate


def _seen(
    examples: Examples, events: Events, view: View | None, at: npt.NDArray[np.int64]
) -> tuple[list[Past], npt.NDArray[np.int32]]:
    """Histories and candidates (B, C) of the examples ``at`` (B,)."""
    pasts = [events.past(row) for row in examples.rows[at].tolist()]
    items = examples.items[at]
    return (pasts, items) if view is None else view(at, pasts, items)


def _targets(examples: Examples, at: npt.NDArray[np.int64]) -> dict[str, torch.Tensor]:
    found = {"labels": examples.labels, "ratings": examples.ratings, "weights": examples.weights}
    return {name: torch.from_numpy(x[at]) for name, x in found.items() if x is not None}


def either(training: Collator, validation: Collator, n: int) -> Collator:
    """The Trainer has one collator for both sets: numbers from ``n`` on are validation examples."""

    def collate(numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        if numbers[0] < n:
            return training(numbers)
        return validation([number - n for number in numbers])

    return collate
