"""How the BERT ranker writes a history down: in which order, with which words about each event.

Without words a history is the titles of its newest events, one after the other. Words say what a
title does not:

- ratings: ``liked`` before an event that is rated at the data's mean rating or above, ``disliked``
  before one below it, nothing where there is no rating;
- gaps: how long the event lies before the newest one shown: ``today`` (less than a day), ``last
  week`` (less than 7 days), ``last month`` (30), ``last year`` (365), else ``long ago``; nothing
  where a time is unknown. Gaps count from the newest event and not from the time of asking, since
  who asks without a time must get the same text as training had.

So ``last week liked Heat today disliked Casino``. The words are ones that every English encoder
knows; nothing is added to the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fusion.queries import Queries
from fusion.ragged import Ragged, spans

__all__ = ["GAPS", "PLAIN", "RATINGS", "Past", "Wording", "pasts", "wording"]

_DAY = 86_400.0
#: gap in seconds below which the word holds; longer gaps get the last word
GAPS = (
    (_DAY, "today"),
    (7 * _DAY, "last week"),
    (30 * _DAY, "last month"),
    (365 * _DAY, "last year"),
    (np.inf, "long ago"),
)
#: words of a rating below the mean, and of one that is not
RATINGS = ("disliked", "liked")


class Past(NamedTuple):
    """Events before a moment, the oldest first.

    Attributes:
        items: (n,) int32 item_index.
        ratings: (n,) float32, NaN = none; or ``None``: no rating is known.
        times: (n,) float64 seconds, NaN = unknown; or ``None``: no time is known.
    """

    items: npt.NDArray[np.int32]
    ratings: npt.NDArray[np.float32] | None = None
    times: npt.NDArray[np.float64] | None = None

    def take(self, which: npt.NDArray[Any]) -> Past:
        """The events ``which`` (indices or a mask), in that order."""
        ratings = None if self.ratings is None else self.ratings[which]
        times = None if self.times is None else self.times[which]
        return Past(self.items[which], ratings, times)


def pasts(queries: Queries) -> Iterator[Past]:
    """What each query knows of its events."""
    offsets = queries.history.offsets.tolist()
    for start, end in pairwise(offsets):
        yield Past(
            queries.history.values[start:end],
            queries.ratings[start:end],
            queries.times[start:end],
        )


@dataclass(frozen=True, slots=True)
class Wording:
    """Order of a history, and the tokens that stand before a title.

    Attributes:
        newest_first: whether the newest event is written first.
        notes: token ids by code, see `codes`; list 0 is empty.
        mean: rating from which on an event is liked.
        ratings: whether ratings are told.
        gaps: whether gaps of time are told.
    """

    newest_first: bool
    notes: Ragged
    mean: float = 0.0
    ratings: bool = False
    gaps: bool = False

    def codes(self, past: Past) -> npt.NDArray[np.int64]:
        """(n,) int64: which of `notes` each event gets: 3 * word of the gap + word of the rating.

        A word is 0 for none, else 1 for the first of `GAPS` or `RATINGS`, and so on.
        """
        out = np.zeros(len(past.items), np.int64)
        if self.ratings and past.ratings is not None:
            out += np.where(np.isnan(past.ratings), 0, 1 + (past.ratings >= self.mean))
        if self.gaps and past.times is not None and len(past.times):
            gap = past.times[-1] - past.times
            limits = np.array([limit for limit, _ in GAPS[:-1]])
            word = 1 + np.searchsorted(limits, gap, side="right")
            out += 3 * np.where(np.isnan(gap), 0, word)
        return out

    def write(self, codes: npt.NDArray[np.int64], titles: Ragged) -> npt.NDArray[np.int32]:
        """Tokens of events put end to end, the note of each, by code, before its title."""
        if not self.ratings and not self.gaps:
            return titles.values
        notes = self.notes.take(codes)
        lengths = notes.lengths + titles.lengths
        starts = np.cumsum(lengths) - lengths
        out = np.empty(int(lengths.sum()), np.int32)
        out[spans(starts, notes.lengths)] = notes.values
        out[spans(starts + notes.lengths, titles.lengths)] = titles.values
        return out


#: titles alone, the oldest first
PLAIN = Wording(newest_first=False, notes=Ragged.empty(1))


def wording(
    tokenizer: Any, *, order: str, ratings: bool, gaps: bool, mean: float = float("nan")
) -> Wording:
    """The words in ``tokenizer``'s tokens.

    Args:
        tokenizer: a Hugging Face tokenizer.
        order: ``"oldest_first"`` or ``"newest_first"``.
        ratings: whether ratings are told.
        gaps: whether gaps of time are told.
        mean: of the ratings; NaN = the data has none, and so none are told.
    """
    ratings = ratings and not np.isnan(mean)
    if not ratings and not gaps:
        return Wording(order == "newest_first", Ragged.empty(1))
    said = [
        " ".join(word for word in (gap, rating) if word)
        for gap in ("", *(word for _, word in GAPS))
        for rating in ("", *RATINGS)
    ]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] if text else [] for text in said]
    return Wording(order == "newest_first", Ragged.of(ids), mean, ratings, gaps)
