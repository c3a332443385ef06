"""The lists that a student is shown, and the loss over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from rankers.bert_history import pasts
from rankers.bert_model import make_batch
from rankers.bert_text import Texts

if TYPE_CHECKING:
    from fusion.distillation.lessons import Lessons

__all__ = [
    "Lists",
    "collator",
    "draw_lists",
    "in_batches",
    "listwise_kl",
    "standardized",
    "usable",
]

NO_ITEM = -1
_EPSILON = 1e-6  # of a variance: a list of equal scores has none
_WINDOW = 16  # batches whose lists are sorted by length together


@dataclass(frozen=True, slots=True)
class Lists:
    """``E`` lists of at most ``C`` candidates.

    Attributes:
        moments: (E,) int64: which moment of the `Lessons` each list is of.
        items: (E, C) int32 item_index, -1 = none; the places that are filled come first.
        scores: (E, C) float32: the teacher's; NaN where there is no item.
    """

    moments: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.moments)

    def take(self, which: npt.NDArray[np.integer]) -> Lists:
        """The lists ``which`` (K,), in that order."""
        return Lists(self.moments[which], self.items[which], self.scores[which])


def usable(lessons: Lessons, texts: Texts) -> npt.NDArray[np.bool_]:
    """(Q,) bool: moments with a history that can be read and two candidates that can be ordered."""
    rows = lessons.candidates
    good = ~np.isnan(lessons.teacher) & texts.known[rows.items]
    history = lessons.queries.history
    read = np.bincount(history.rows, texts.known[history.values], minlength=len(history)) > 0
    return read & (np.bincount(rows.rows, good, minlength=len(history)) > 1)


def draw_lists(
    lessons: Lessons,
    texts: Texts,
    moments: npt.NDArray[np.int64],
    *,
    size: int,
    top: int,
    rng: np.random.Generator,
) -> Lists:
    """One list for each of ``moments`` (E,): the teacher's first ``top`` and a random rest.

    Args:
        lessons: what the teacher said.
        texts: candidates without text are passed over.
        moments: which; each must be `usable`. A moment may stand twice and gets two lists.
        size: candidates of a list at most.
        top: how many of them are the teacher's first; at most ``size``.
        rng: draws the rest.
    """
    rows, teacher = lessons.candidates, lessons.teacher
    items = np.full((len(moments), size), NO_ITEM, np.int32)
    scores = np.full(items.shape, np.nan, np.float32)
    good = ~np.isnan(teacher) & texts.known[rows.items]
    for e, q in enumerate(moments.tolist()):
        at = np.arange(rows.offsets[q], rows.offsets[q + 1])
        at = at[good[at]]
        at = at[np.argsort(-teacher[at], kind="stable")]
        first, rest = at[:top], at[top:]
        chosen = np.concatenate([first, rng.permutation(rest)])[:size]
        items[e, : len(chosen)] = rows.items[chosen]
        scores[e, : len(chosen)] = teacher[chosen]
    return Lists(np.asarray(moments, np.int64), items, scores)


def in_batches(
    lists: Lists, lessons: Lessons, texts: Texts, batch: int, rng: np.random.Generator
) -> Lists:
    """The same lists in batches of like length, so that little of a batch is padding."""
    asked, at = np.unique(lists.moments, return_inverse=True)
    queries = lessons.queries.take(asked)
    lengths = np.append(texts.items.lengths, 0)[lists.items].sum(axis=1)
    lengths += np.array([len(texts.history(past)) for past in pasts(queries)], np.int64)[at]
    order = []
    for start in range(0, len(lists), batch * _WINDOW):
        window = np.arange(start, min(start + batch * _WINDOW, len(lists)))
        pieces = np.split(
            window[np.argsort(lengths[window], kind="stable")], range(batch, len(window), batch)
        )
        # an incomplete batch stays last, or all later ones would be cut elsewhere
        full = len(pieces) - (len(pieces[-1]) < batch)
        order += [pieces[i] for i in rng.permutation(full)] + pieces[full:]
    return lists.take(np.concatenate(order)) if order else lists


def collator(
    lists: Lists, lessons: Lessons, texts: Texts
) -> Callable[[Sequence[int]], dict[str, torch.Tensor]]:
    """List numbers to packed sequences and ``labels`` (B, C), the teacher's scores."""

    def collate(numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        part = lists.take(np.asarray(numbers, np.int64))
        batch = make_batch(
            [texts.history(past) for past in pasts(lessons.queries.take(part.moments))],
            [[texts.candidate(i) for i in row if i != NO_ITEM] for row in part.items.tolist()],
            texts.pad,
        )
        return {
            "tokens": batch.tokens,
            "positions": batch.positions,
            "segments": batch.segments,
            "labels": torch.from_numpy(part.scores),
        }

    return collate


def standardized(scores: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(B, C): each list's scores less their mean, over their standard deviation (population's).

    Args:
        scores: (B, C).
        known: (B, C) bool: the places that count; the others come out as 0.
    """
    n = known.sum(dim=1, keepdim=True).clamp(min=1)
    filled = torch.where(known, scores, 0.0)
    away = torch.where(known, filled - filled.sum(dim=1, keepdim=True) / n, 0.0)
    variance = away.square().sum(dim=1, keepdim=True) / n
    return away / (variance + _EPSILON).sqrt()


def listwise_kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """How far the student's list distribution is from the teacher's, a mean over the lists.

    ``T^2 * sum p log(p / q)`` with ``p`` and ``q`` the softmaxes of the standardised teacher's and
    student's scores over ``T``; see the module `rankers.bert_distill` for the sources.

    Inputs: ``student`` (B, C), any real numbers; ``teacher`` (B, C), NaN = no candidate there.
    Requirements: a list with one candidate has nothing to teach and gives 0.
    Relations: its gradient is that of ListNet's cross-entropy, times ``T^2``; least, 0, where the
    student's scores are the teacher's up to a positive factor and an offset.

    Example:
        >>> scores = torch.tensor([[2.0, 1.0, 0.0]])
        >>> round(float(listwise_kl(3 * scores + 5, scores, 0.5)), 4)
        0.0
    """
    known = ~torch.isnan(teacher)
    hidden = torch.finfo(torch.float32).min
    p, q = (
        torch.log_softmax(
            (standardized(x.float(), known) / temperature).masked_fill(~known, hidden), dim=1
        )
        for x in (torch.where(known, teacher, 0.0), student)
    )
    gap = torch.where(known, p - q, 0.0)
    return temperature**2 * (p.exp() * gap).sum(dim=1).mean()
