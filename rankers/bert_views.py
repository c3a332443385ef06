"""Other views of the BERT ranker's training examples: histories and texts that mean about the same.

A view is drawn anew each time that an example is looked at, from the example's number alone, so a
training that was interrupted goes on with the same views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from finetuning.augmentation import TextAugmenter, positions
from fusion.ragged import Ragged
from rankers.bert_config import Config
from rankers.bert_examples import NO_ITEM
from rankers.bert_history import Past
from rankers.bert_text import Texts, token_ids

__all__ = ["VARIANTS", "View", "shuffled_ties", "variants", "view_of"]

#: how often each text is written in other words
VARIANTS = 3


@dataclass(frozen=True, slots=True)
class View:
    """Changes histories and texts of a batch.

    Attributes:
        config: which changes, and how probable they are.
        n_items: items of the catalogue; item ``i`` in its ``v``-th wording is ``i + v * n_items``.
        wordings: how many there are, the original included.
        seed: of the draws.
    """

    config: Config
    n_items: int
    wordings: int
    seed: int

    def __call__(
        self, numbers: npt.NDArray[np.int64], pasts: Sequence[Past], items: npt.NDArray[np.int32]
    ) -> tuple[list[Past], npt.NDArray[np.int32]]:
        """Histories and candidates (B, C) of the examples ``numbers`` (B,), changed."""
        seen, out = [], items.copy()
        for at, number in enumerate(numbers.tolist()):
            rng = np.random.default_rng([self.seed, number])
            past = self._history(pasts[at], rng)
            seen.append(past._replace(items=self._reworded(past.items, rng)))
            out[at] = self._reworded(items[at], rng)
        return seen, out

    def _history(self, past: Past, rng: np.random.Generator) -> Past:
        if self.config.shuffle_ties:
            past = shuffled_ties(past, rng)
        return past.take(positions(len(past.items), self.config.augmentation, rng))

    def _reworded(
        self, items: npt.NDArray[np.int32], rng: np.random.Generator
    ) -> npt.NDArray[np.int32]:
        if self.wordings == 1:
            return items
        wording = rng.integers(self.wordings, size=items.shape)
        return np.where(items == NO_ITEM, NO_ITEM, items + wording * self.n_items).astype(np.int32)


def shuffled_ties(past: Past, rng: np.random.Generator) -> Past:
    """``past`` with events of one time stamp in random order; as it is where a time is unknown."""
    if past.times is None or np.isnan(past.times).any():
        return past
    return past.take(np.lexsort((rng.random(len(past.times)), past.times)))


def view_of(config: Config, texts: Texts, wordings: int, seed: int) -> View | None:
    """What ``config`` asks for; ``None`` where it asks for nothing."""
    asked = config.augmentation
    if (
        wordings == 1
        and not config.shuffle_ties
        and not (asked.crop or asked.mask or asked.reorder)
    ):
        return None
    return View(config, len(texts.items) // wordings, wordings, seed)


def variants(
    texts: Texts,
    tokenizer: Any,
    catalogue: Sequence[str],
    config: Config,
    rng: np.random.Generator,
) -> tuple[Texts, int]:
    """The catalogue in several wordings, one after the other, and how many there are.

    Args:
        texts: the original.
        tokenizer: what made it.
        catalogue: the texts themselves.
        config: names the synonyms or the function that rewrites.
        rng: draws the words.
    """
    asked = config.augmentation
    reword = TextAugmenter(asked)
    if not reword.changes:
        return texts, 1
    parts = [texts.items]
    parts += [
        token_ids(tokenizer, reword(catalogue, rng), config.item_tokens) for _ in range(VARIANTS)
    ]
    return replace(texts, items=Ragged.concatenate(parts)), 1 + VARIANTS
