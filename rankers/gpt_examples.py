"""What the causal model is trained on, and what tells it when to stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from rankers.gpt_prompt import Prompts
from rankers.gpt_rendering import Events
from rankers.gpt_rows import Example, Extras, draw, maker

__all__ = ["Example", "Extras", "Validation", "examples", "hold_out", "ndcg"]

_POPULARITY_POWER = 0.75  # of the sampling of negatives; Mikolov et al. 2013, section 2.2
_MINED = 256  # users that hard negatives are mined for at once
_POOL = 100  # negatives shared by all validation users, so that few need a score of their own


@dataclass(frozen=True)
class Validation:
    """The inner validation set: the newest events of some users, and negatives to rank them among.

    Attributes:
        events: V histories, before the event that is held out.
        candidates: (V, C) int32 item_index; the first of a row is the one held out.
    """

    events: tuple[Events, ...]
    candidates: npt.NDArray[np.int32]

    @property
    def histories(self) -> tuple[npt.NDArray[np.integer[Any]], ...]:
        """V arrays of item_index."""
        return tuple(events.items for events in self.events)

    def __len__(self) -> int:
        return len(self.events)


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
    pool = rng.permutation(draw(rng, weights, min(_POOL, int((weights > 0).sum()))))
    rows, histories = [], []
    for user in chosen.tolist():
        seen = data.histories[user]
        others = rng.permutation(pool[~np.isin(pool, seen)])[: width - 1]
        if len(others) == width - 1:
            rows.append(np.concatenate([seen[-1:], others]))
            histories.append(_events(data, user).where(slice(0, -1)))
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
    extras: Extras | None = None,
) -> list[Example]:
    """Training rows of at most ``max_tokens`` tokens in all: of every user the newest first.

    ``likelihood``: windows of ``history + 1`` consecutive events after the header; every item of a
    window is predicted from those before it. ``yes_no`` and ``listwise``: one event with its
    history, asked for along with ``negatives`` sampled items (popularity to the power 0.75, none
    that the user met). ``rating``: one rated event. ``contrastive``: a history and the next item.
    """
    rows: list[Example] = []
    left = max_tokens
    for example in _all(data, prompts, mode, negatives, rng, extras or Extras()):
        if rows and example.size > left:
            break
        rows.append(example)
        left -= example.size
    return rows


def _all(
    data: Dataset,
    prompts: Prompts,
    mode: str,
    negatives: int,
    rng: np.random.Generator,
    extras: Extras,
) -> Iterator[Example]:
    """Every row there is, user by user in a new order each round, as they are asked for."""
    text = prompts.has_text
    make = maker(mode)(prompts, negatives, _weights(data, text), rng, extras)
    users = {user: _events(data, user) for user in np.flatnonzero(np.diff(data.offsets)).tolist()}
    users = {user: events.where(text[events.items]) for user, events in users.items()}
    counts = {user: make.count(events) for user, events in users.items()}
    number = 0
    while users:
        order = [int(user) for user in rng.permutation(list(users))]
        order = [user for user in order if counts[user] > number]
        users = {user: events for user, events in users.items() if counts[user] > number}
        for start in range(0, len(order), _MINED):
            some = order[start : start + _MINED]
            places = [make.at(users[user], number) for user in some]
            hard = [np.empty(0, np.int32)] * len(some)
            if extras.mined is not None:
                hard = list(extras.mined(some, places))
            for user, at, mined in zip(some, places, hard, strict=True):
                example = make.make(users[user], at, mined)
                if example is not None:
                    yield example
        number += 1


def _events(data: Dataset, user: int) -> Events:
    rows, events = slice(data.offsets[user], data.offsets[user + 1]), data.interactions
    return Events(events.items[rows], events.ratings[rows], events.times[rows])


def _weights(data: Dataset, text: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.where(text, data.popularity.astype(np.float64) ** _POPULARITY_POWER, 0.0)
