"""Examples as batches in which each item's text is read once, however many examples it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.ragged import Ragged
from retrievers.dense_examples import Examples

__all__ = ["Batch", "Batches", "log_inclusion"]

#: (item_index of a history, generator) -> the history as it is shown to the model
Augment = Callable[[npt.NDArray[np.int32], np.random.Generator], npt.NDArray[np.int32]]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's examples, and the items that all of them are ranked among.

    Attributes:
        items: (J,) int32 item_index, rising: candidates of every example.
        targets: (E,) int64: where each example's item stands in ``items``.
        histories: ``E`` lists of item_index, the oldest first, never empty.
        allowed: (E, J) bool: false where the user has met the item and it is not the target: what
            somebody met is no negative.
        weights: (E,) float32: how much each example counts.
    """

    items: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int64]
    histories: Ragged
    allowed: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches of a training, by number; the same whenever one is asked for.

    Attributes:
        examples: in their order.
        size: examples a batch; what does not fill one is left out, unless there is no other.
        met: by user_index: every item that the user met, in any order.
        share_history: whether the items of the histories are candidates too, as they are encoded
            anyway.
        hard: by example: items that are hard to tell from its target; ``None`` = none.
        hard_share: share of a batch's negatives that is drawn from ``hard``, below 1.
        weights: (I,) float32 by target: how much an example counts; ``None`` = all alike.
        augment: another history that means about the same; ``None`` = as it is.
        seed: of every draw.
    """

    examples: Examples
    size: int
    met: Ragged
    share_history: bool
    seed: int
    hard: Ragged | None = None
    hard_share: float = 0.0
    weights: npt.NDArray[np.float32] | None = None
    augment: Augment | None = None

    def __len__(self) -> int:
        return max(1, len(self.examples) // self.size) if len(self.examples) else 0

    def __getitem__(self, number: int) -> Batch:
        rows = np.arange(number * self.size, min((number + 1) * self.size, len(self.examples)))
        if not 0 <= number < len(self):
            raise IndexError(number)
        rng = np.random.default_rng([self.seed, number])
        part = self.examples.take(rows)
        histories = part.histories
        if self.augment is not None:
            histories = Ragged.of(self.augment(history, rng) for history in histories)
        items = np.unique(
            np.concatenate([part.targets, histories.values]) if self.share_history else part.targets
        )
        items = np.union1d(items, self._hard(rows, len(items), rng)).astype(np.int32)
        targets = np.searchsorted(items, part.targets)
        allowed = self._allowed(part.users, items)
        allowed[np.arange(len(rows)), targets] = True
        weights = np.ones(len(rows), np.float32)
        if self.weights is not None:
            weights = self.weights[part.targets]
        return Batch(items, targets.astype(np.int64), histories, allowed, weights)

    def _hard(
        self, rows: npt.NDArray[np.int64], others: int, rng: np.random.Generator
    ) -> npt.NDArray[np.int32]:
        """So many that they are `hard_share` of all with ``others`` from the batch itself."""
        if self.hard is None:
            return np.empty(0, np.int32)
        found = np.unique(self.hard.take(rows).values)
        wanted = round(self.hard_share / (1 - self.hard_share) * others)
        return rng.choice(found, min(wanted, len(found)), replace=False)

    def _allowed(
        self, users: npt.NDArray[np.int32], items: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.bool_]:
        met = self.met.take(users)
        at = np.minimum(np.searchsorted(items, met.values), len(items) - 1)
        here = items[at] == met.values
        out = np.ones((len(users), len(items)), bool)
        out[met.rows[here], at[here]] = False
        return out


def log_inclusion(popularity: npt.NDArray[np.int64], draws: int) -> npt.NDArray[np.float32]:
    """(I,) float32: log of the chance that an item is among ``draws`` events drawn at random.

    ``log(1 - (1 - p)^n)`` with ``p`` the item's share of the events: what the logit of a negative
    is corrected by, so that popular items do not suffer for turning up in more batches (Yi et al.
    2019, Sampling-bias-corrected neural modeling for large corpus item recommendations, RecSys).
    Each item stands once in a batch, however often it was drawn, hence not simply ``log p``.

    Args:
        popularity: (I,) events of each item; one without any counts as if it had one.
        draws: n, 1 at least.

    >>> np.exp(log_inclusion(np.array([1, 3]), 2)).round(4).tolist()  # 1 - .75^2, 1 - .25^2
    [0.4375, 0.9375]
    """
    events = np.maximum(popularity, 1).astype(np.float64)
    share = events / events.sum()
    with np.errstate(divide="ignore"):  # a single item: certain
        missed = draws * np.log1p(-share)
    found: npt.NDArray[np.float32] = np.log(-np.expm1(missed)).astype(np.float32)
    return found
