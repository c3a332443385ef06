"""From the numbers of a batch to tokens: every text once, texts of like length together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fusion.ragged import Ragged
from retrievers.dense_batches import Batch, Batches
from retrievers.encoder import Encoder
from retrievers.history import decayed

__all__ = ["Reader", "history_texts"]


def history_texts(history: Ragged, texts: Sequence[str], count: int) -> list[str]:
    """The texts of each list's ``count`` newest items, the newest first, as one text."""
    return [" ".join(texts[item] for item in items[::-1][:count]) for items in history]


@dataclass
class Reader:
    """Makes what `retrievers.dense_loss.NextItem` takes; the data collator of the Trainer.

    Attributes:
        batches: the batch of each number.
        encoder: its tokenizer is used.
        texts: by item_index.
        user: how a user is made of the items met, see `DenseConfig.user`.
        half_life: mean: in events; ``None`` = all count alike.
        count: text: how many newest items are read.
        item_tokens: read of an item's text.
        user_tokens: text: read of a history.
        log_q: (I,) float32, taken from an item's logits.
        group: texts that are encoded at once; sorted by length before they are grouped.
        rewrite: other texts that mean about the same, drawn by a generator; ``None`` = as they are.
        seed: of what ``rewrite`` draws.
    """

    batches: Batches
    encoder: Encoder
    texts: Sequence[str]
    user: Literal["mean", "text"]
    half_life: float | None
    count: int
    item_tokens: int
    user_tokens: int
    log_q: npt.NDArray[np.float32]
    group: int = 32
    rewrite: Callable[[list[str], np.random.Generator], list[str]] | None = None
    seed: int = 0

    #: what sentence-transformers' Trainer asks of a collator
    valid_label_columns: tuple[str, ...] = ()

    def __call__(self, rows: Sequence[dict[str, int]]) -> dict[str, Any]:
        """The tokens and the lesson of the batch whose number is the only one of ``rows``."""
        number = rows[0]["number"]
        return self.read(self.batches[number], np.random.default_rng([self.seed, number, 1]))

    def read(self, batch: Batch, rng: np.random.Generator) -> dict[str, Any]:
        """``features``, a list of tokenized groups, and ``lesson``, a mapping of tensors."""
        import torch

        history, count = batch.histories, len(batch.items)
        items = [self.texts[item] for item in batch.items]
        if self.user == "mean":
            users: list[str] = []
            steps = np.repeat(history.offsets[1:], history.lengths) - 1
            shares = decayed(steps - np.arange(len(history.values)), self.half_life)
            members, owners = np.searchsorted(batch.items, history.values), history.rows
        else:
            joined = history_texts(history, self.texts, self.count)
            place = {text: count + i for i, text in enumerate(dict.fromkeys(joined))}
            users = list(place)
            members = np.array([place[text] for text in joined], np.int64)
            owners, shares = np.arange(len(batch)), np.ones(len(batch), np.float32)
        if self.rewrite is not None:
            items, users = self.rewrite(items, rng), self.rewrite(users, rng)
        features, order = [], []
        for texts, tokens, first in (
            (items, self.item_tokens, 0),
            (users, self.user_tokens, count),
        ):
            model = self.encoder.reading(tokens)
            by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
            for start in range(0, len(by_length), self.group):
                some = by_length[start : start + self.group]
                features.append(dict(model.preprocess([texts[i] for i in some])))
                order += [first + i for i in some]
        lesson = {
            "order": np.array(order, np.int64),
            "members": members.astype(np.int64),
            "owners": owners.astype(np.int64),
            "shares": shares,
            "targets": batch.targets,
            "allowed": batch.allowed,
            "log_q": self.log_q[batch.items],
            "weights": batch.weights,
        }
        return {
            "features": features,
            "lesson": {name: torch.from_numpy(values) for name, values in lesson.items()},
        }
