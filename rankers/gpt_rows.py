"""Training rows: what one event of a user, or a window of them, becomes for each objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from finetuning.augmentation import positions
from finetuning.settings import Augmentation
from rankers.gpt_lists import Lists
from rankers.gpt_prompt import Prompts, Tokens
from rankers.gpt_rendering import Events

__all__ = ["Example", "Extras", "Maker", "draw", "maker"]

Mined = Callable[[Sequence[int], Sequence[int]], Sequence[npt.NDArray[np.int32]]]


@dataclass(frozen=True, slots=True)
class Example:
    """One packed row: the history and what follows it.

    Attributes:
        history: token ids.
        candidates: likelihood: one array, the items that follow each other; questions: one array a
            candidate; contrastive: the history's text and the item's, each after the header alone.
        labels: questions: 1.0 for the item met next, 0.0 for a sampled one, or the rating from 0 to
            1; empty for the others.
        weights: what the row counts, or each of its candidates' tokens in turn; ``None`` = 1.
        items: contrastive: item_index of the item met.
        ids: listwise: (L,) token ids of the labels, the candidate's last; -1 = no such place.
    """

    history: Tokens
    candidates: tuple[Tokens, ...]
    labels: tuple[float, ...] = ()
    weights: float | npt.NDArray[np.float32] | None = None
    items: tuple[int, ...] = ()
    ids: Tokens | None = None

    @property
    def size(self) -> int:
        """Tokens."""
        return len(self.history) + sum(map(len, self.candidates))


@dataclass(frozen=True)
class Extras:
    """What examples may have beside the plain recipe.

    Attributes:
        lists: listwise: how lists are shown.
        augmentation: of the histories.
        others: the catalogue in other words, which half of the rows are read in; with its lists.
        propensity: (I,) float32: what an event with an item counts; ``None`` = all the same.
        mined: hard negatives: users (n) and how many of their events with a text lie before (n) ->
            n arrays of item_index; ``None`` = none.
        share: of the negatives that are hard.
        bounds: the lowest and the highest rating.
    """

    lists: Lists | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    others: tuple[Prompts, Lists | None] | None = None
    propensity: npt.NDArray[np.float32] | None = None
    mined: Mined | None = None
    share: float = 0.0
    bounds: tuple[float, float] = (0.0, 1.0)


class Maker:
    """Makes the rows of one objective.

    Args:
        prompts: the catalogue in tokens.
        negatives: sampled items beside the one met.
        weights: (I,) float64: how often an item is sampled, relative to others.
        rng: draws negatives and augmentations.
        extras: see there.
    """

    def __init__(
        self,
        prompts: Prompts,
        negatives: int,
        weights: npt.NDArray[np.float64],
        rng: np.random.Generator,
        extras: Extras,
    ) -> None:
        self.plain, self.negatives, self.weights = prompts, negatives, weights
        self.rng, self.extras = rng, extras

    def count(self, events: Events) -> int:
        """How many rows a user's events (all with a text) give."""
        return max(0, len(events) - 1)

    def at(self, events: Events, number: int) -> int:
        """Which event row ``number`` (0 = the newest) is about."""
        return len(events) - 1 - number

    def make(self, events: Events, at: int, hard: npt.NDArray[np.int32]) -> Example | None:
        """The row about event ``at``; ``None`` where there is nothing to learn."""
        raise NotImplementedError

    def words(self) -> tuple[Prompts, Lists | None]:
        """The catalogue as the next row reads it."""
        if self.extras.others is not None and self.rng.random() < 0.5:
            return self.extras.others
        return self.plain, self.extras.lists

    def changed(self, events: Events) -> Events:
        """``events`` as the next row reads them."""
        setting = self.extras.augmentation
        if not (setting.crop or setting.mask or setting.reorder):
            return events
        return events.where(positions(len(events), setting, self.rng))

    def weight(self, item: int) -> float | None:
        """What a row about ``item`` counts."""
        found = self.extras.propensity
        return None if found is None else float(found[item])

    def sampled(self, met: npt.NDArray[Any], hard: npt.NDArray[np.int32]) -> list[int]:
        """Negatives of a user who ``met`` those items, the hard ones first."""
        others = draw(self.rng, self.weights, self.negatives + min(len(met), 50))
        others = others[~np.isin(others, met)]
        if len(hard):
            taken = hard[: round(self.extras.share * self.negatives)]
            others = np.concatenate([taken, others[~np.isin(others, taken)]])
        return [int(item) for item in others[: self.negatives]]


class Windows(Maker):
    """Windows of ``history + 1`` events after the header; each is predicted from those before it.

    Where histories are told in another way than one text after the other, each row is one event
    after its history instead.
    """

    def count(self, events: Events) -> int:
        """As `Maker.count`."""
        if self.plain.plain:
            return -(-len(events) // (self.plain.history + 1))
        return max(len(events) - 1, min(len(events), 1))

    def at(self, events: Events, number: int) -> int:
        """As `Maker.at`."""
        return super().at(events, number * (self.plain.history + 1 if self.plain.plain else 1))

    def make(self, events: Events, at: int, hard: npt.NDArray[np.int32]) -> Example | None:
        """As `Maker.make`."""
        prompts, _ = self.words()
        if self.plain.plain:
            read = self.changed(events.where(slice(max(0, at - prompts.history), at + 1)))
            history, items = prompts.header, read.items.tolist()
        else:
            before = self.changed(events.where(slice(max(0, at - prompts.history), at)))
            history, items = prompts.sequence(before), [int(events.items[at])]
        texts = [prompts.items[i] for i in items]
        weights = None
        if self.extras.propensity is not None:
            weights = np.repeat(self.extras.propensity[items], [len(text) for text in texts])
        return Example(history, (np.concatenate(texts),), weights=weights)


class Questions(Maker):
    """One event with its history, asked for along with sampled items."""

    def make(self, events: Events, at: int, hard: npt.NDArray[np.int32]) -> Example | None:
        """As `Maker.make`."""
        asked = [int(events.items[at]), *self.sampled(events.items, hard)]
        labels = (1.0, *[0.0] * (len(asked) - 1))
        prompts, lists = self.words()
        before = self.changed(events.where(slice(0, at)))
        weight = self.weight(asked[0])
        if lists is None:
            texts = tuple(prompts.questions[i] for i in asked)
            return Example(prompts.sequence(before), texts, labels, weight)
        number = int(self.rng.integers(2**31))
        shown = lists.show(before, number, without=asked)
        if not len(shown.others):
            return None
        ids = np.full(len(lists.answers), -1, np.int64)
        ids[len(ids) - len(shown.labels) :] = shown.labels
        texts = tuple(lists.branch(shown, i) for i in asked)
        return Example(shown.stem, texts, labels, weight, ids=ids)


class Ratings(Maker):
    """One rated event with its history, and the rating from 0 (the data's lowest) to 1."""

    def make(self, events: Events, at: int, hard: npt.NDArray[np.int32]) -> Example | None:
        """As `Maker.make`."""
        low, high = self.extras.bounds
        rating, item = float(events.ratings[at]), int(events.items[at])
        if np.isnan(rating):
            return None
        prompts, _ = self.words()
        before = self.changed(events.where(slice(0, at)))
        label = (rating - low) / (high - low) if high > low else 1.0
        return Example(
            prompts.sequence(before), (prompts.questions[item],), (label,), self.weight(item)
        )


class Pairs(Maker):
    """A history and the item met next, each read alone."""

    def make(self, events: Events, at: int, hard: npt.NDArray[np.int32]) -> Example | None:
        """As `Maker.make`."""
        prompts, _ = self.words()
        before, item = self.changed(events.where(slice(0, at))), int(events.items[at])
        texts = (prompts.told(before), prompts.items[item])
        return Example(prompts.header, texts, weights=self.weight(item), items=(item,))


#: what is asked for -> what makes its rows
_MAKERS: dict[str, type[Maker]] = {
    "likelihood": Windows,
    "yes_no": Questions,
    "listwise": Questions,
    "rating": Ratings,
    "contrastive": Pairs,
}


def maker(mode: str) -> type[Maker]:
    """The maker of ``likelihood``, ``yes_no``, ``listwise``, ``rating`` or ``contrastive`` rows."""
    return _MAKERS[mode]


def draw(
    rng: np.random.Generator, weights: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.int32]:
    """Up to ``n`` different items, an item with weight w as likely as w over the sum."""
    if n < 1 or not weights.any():
        return np.empty(0, np.int32)
    drawn = np.searchsorted(np.cumsum(weights), rng.random(4 * n) * weights.sum(), side="right")
    drawn = np.minimum(drawn, len(weights) - 1)
    _, first = np.unique(drawn, return_index=True)
    return np.asarray(drawn[np.sort(first)][:n], np.int32)
