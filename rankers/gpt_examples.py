"""What the causal model is trained on, and what tells it when to stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from rankers.gpt_prompt import Prompts, Tokens

__all__ = ["Example", "Validation", "examples", "hold_out", "ndcg"]

_POPULARITY_POWER = 0.75  # of the sampling of negatives; Mikolov et al. 2013, section 2.2
_POOL = 100  # negatives shared by all validation users, so that few need a score of their own


@dataclass(frozen=True, slots=True)
class Example:
    """One packed row: the history and what follows it.

    Attributes:
        history: token ids.
        candidates: likelihood: one array, the items that follow each other; yes_no: the questions.
        labels: yes_no: 1.0 for the item met next, 0.0 for a sampled one; empty for likelihood.
    """

    history: Tokens
    candidates: tuple[Tokens, ...]
    labels: tuple[float, ...] = ()

    @property
    def size(self) -> int:
        """Tokens."""
        return len(self.history) + sum(map(len, self.candidates))


@dataclass(frozen=True)
class Validation:
    """The inner validation set: the newest events of some users, and negatives to rank them among.

    Attributes:
        histories: V arrays of item_index, before the event that is held out.
        candidates: (V, C) int32 item_index; the first of a row is the one held out.
    """

    histories: tuple[npt.NDArray[np.int32], ...]
    candidates: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.histories)


def hold_out(
    data: Dataset, prompts: Prompts, users: int, width: int, rng: np.random.Generator
) -> tuple[Dataset, Validation]:
    """Take the newest event of up to ``users`` users out of ``data``, to stop early on.

    Everything comes from ``data`` itself. Were the model stopped on the events after it, those that
    a stacker learns from or that a result is measured on, its scores there would be too good, and
    the stacker would trust it too much. Never more than a quarter of the users with two events.

    Returns:
        ``data`` without those events, and the validation set, perhaps empty.
    """
    text = prompts.has_text
    last = data.offsets[1:] - 1
    fit = np.flatnonzero(np.diff(data.offsets) >= 2)
    fit = fit[text[data.interactions.items[last[fit]]]]
    fit = np.array([u for u in fit.tolist() if text[data.histories[u][:-1]].any()], dtype=np.int64)
    chosen = np.sort(rng.permutation(fit)[: min(users, len(fit) // 4)])
    keep = np.ones(len(data), dtype=bool)
    keep[last[chosen]] = False
    width = min(width, max(2, int(text.sum()) // 2))  # a small catalogue has few negatives
    weights = _weights(data, text)
    pool = rng.permutation(_draw(rng, weights, min(_POOL, int((weights > 0).sum()))))
    rows, histories = [], []
    for user in chosen.tolist():
        seen = data.histories[user]
        others = rng.permutation(pool[~np.isin(pool, seen)])[: width - 1]
        if len(others) == width - 1:
            rows.append(np.concatenate([seen[-1:], others]))
            histories.append(seen[:-1])
    candidates = np.array(rows, np.int32) if rows else np.empty((0, width), np.int32)
    return data.where(keep), Validation(tuple(histories), candidates)


def ndcg(scores: npt.NDArray[np.floating[Any]], k: int = 10) -> float:
    """Mean NDCG@k where the first column is the one relevant item, last among its equals.

    A score that is no number (of a model that diverged) counts as higher, so NaN earns nothing.

    >>> round(ndcg(np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]])), 4)  # (1 + 1 / log2(3)) / 2
    0.8155
    """
    rank = 1 + (~(scores[:, 1:] < scores[:, :1])).sum(1)
    return float(np.where(rank <= k, 1 / np.log2(rank + 1), 0.0).mean())


def examples(
    data: Dataset,
    prompts: Prompts,
    mode: str,
    *,
    max_tokens: int,
    negatives: int,
    rng: np.random.Generator,
) -> list[Example]:
    """Training rows of at most ``max_tokens`` tokens in all: of every user the newest first.

    ``likelihood``: windows of ``history + 1`` consecutive events after the header; every item of a
    window is predicted from those before it. ``yes_no``: one event with its history, asked for
    along with ``negatives`` sampled items (popularity to the power 0.75, none that the user met).
    """
    text = prompts.has_text
    make = _windows if mode == "likelihood" else _questions
    weights = _weights(data, text)
    out: list[Example] = []
    left = max_tokens
    users = np.flatnonzero(np.diff(data.offsets) > 0).tolist()
    steps = {
        user: make(data.histories[user][text[data.histories[user]]], prompts, negatives,
                        weights, rng)
        for user in users
    }  # fmt: skip
    while steps:
        for user in rng.permutation(list(steps)):
            example = next(steps[int(user)], None)
            if example is None:
                del steps[int(user)]
                continue
            if out and example.size > left:
                return out
            out.append(example)
            left -= example.size
    return out


def _windows(items: npt.NDArray[np.int32], prompts: Prompts, *_: Any) -> Iterator[Example]:
    size = prompts.history + 1
    for end in range(len(items), 0, -size):
        window = [prompts.items[i] for i in items[max(0, end - size) : end]]
        yield Example(prompts.header, (np.concatenate(window),))


def _questions(
    items: npt.NDArray[np.int32],
    prompts: Prompts,
    negatives: int,
    weights: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Iterator[Example]:
    for at in range(len(items) - 1, 0, -1):
        others = _draw(rng, weights, negatives + min(len(items), 50))
        others = others[~np.isin(others, items)][:negatives]
        asked = [int(items[at]), *map(int, others)]
        yield Example(
            prompts.sequence(items[:at]),
            tuple(prompts.questions[i] for i in asked),
            (1.0, *[0.0] * len(others)),
        )


def _weights(data: Dataset, text: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.where(text, data.popularity.astype(np.float64) ** _POPULARITY_POWER, 0.0)


def _draw(
    rng: np.random.Generator, weights: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.int32]:
    """Up to ``n`` different items, an item with weight w as likely as w over the sum."""
    if n < 1 or not weights.any():
        return np.empty(0, np.int32)
    drawn = np.searchsorted(np.cumsum(weights), rng.random(4 * n) * weights.sum(), side="right")
    drawn = np.minimum(drawn, len(weights) - 1)
    _, first = np.unique(drawn, return_index=True)
    return np.asarray(drawn[np.sort(first)][:n], np.int32)
