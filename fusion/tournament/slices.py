"""Parts of the judged queries: known and rare targets, short and long histories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.protocols import Labelled

__all__ = ["Slice", "head_items", "slices_of"]


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the judged queries.

    Attributes:
        name: ``"head items"``, ``"tail items"``, ``"cold users"`` or ``"warm users"``.
        rule: who belongs to it, in words.
        mask: (J,) bool.
    """

    name: str
    rule: str
    mask: npt.NDArray[np.bool_]


def head_items(popularity: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    """(I,) bool: the fewest, most popular items that together have ``share`` of all events.

    >>> head_items(np.array([0.1, 0.6, 0.3]), 0.7).tolist()
    [False, True, True]
    """
    order = np.argsort(-popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    head = np.zeros(len(popularity), bool)
    # an item that would only make up for rounding does not belong
    head[order[before < share * popularity.sum() - 1e-12]] = True
    return head


def slices_of(judged: Labelled, *, head_share: float, cold_share: float) -> list[Slice]:
    """Head and tail by the popularity of the target, cold and warm by the length of the history.

    Both cut where the data is: popularity is that of the window's past, and cold are the queries
    whose history is no longer than the ``cold_share`` quantile. A slice may be empty.
    """
    pool = judged.pool
    head = head_items(pool.popularity, head_share)
    known = head[judged.targets]
    lengths = pool.queries.history.lengths
    limit = int(np.quantile(lengths, cold_share, method="lower")) if len(lengths) else 0
    cold = lengths <= limit
    return [
        Slice(
            "head items",
            f"the target is one of the {int(head.sum()):,} most popular items, which have "
            f"{head_share:.0%} of all events",
            known,
        ),
        Slice("tail items", "the target is another item", ~known),
        Slice("cold users", f"a history of at most {limit:,} events", cold),
        Slice("warm users", "a longer history", ~cold),
    ]
