"""What came, went or is read otherwise between two catalogues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Catalog

__all__ = ["Changes", "compare"]


@dataclass(frozen=True, slots=True)
class Changes:
    """The way from one catalogue's rows to another's.

    An item_index means something in its own catalogue only, so items are matched by id. An item
    whose text has changed counts as removed and added.

    Attributes:
        added: (A,) int32 item_index of the new catalogue, rising: to be encoded.
        removed: (R,) int32 item_index of the old catalogue, rising: to be forgotten.
        columns: (I,) int32 by item_index of the new catalogue: the row where its vector stands
            already; -1 = none yet, or no text.
    """

    added: npt.NDArray[np.int32]
    removed: npt.NDArray[np.int32]
    columns: npt.NDArray[np.int32]


def compare(old: Catalog, columns: npt.NDArray[np.int32], new: Catalog) -> Changes:
    """What to do so that the items of ``new`` that have text, and no others, have vectors.

    Args:
        old: the catalogue that has vectors.
        columns: (I,) int32 by item_index of ``old``: the row of its vector; -1 = none.
    """
    before = np.array([old.vocabulary.get(name) for name in new.ids], np.int64)
    same = np.array(
        [b >= 0 and old.texts[b] == text for b, text in zip(before, new.texts, strict=True)], bool
    )
    kept = np.full(len(new), -1, np.int32)
    kept[same] = columns[before[same]]
    gone = columns >= 0
    gone[before[same]] = False
    fresh = np.array([bool(text) for text in new.texts], bool) & (kept < 0)
    return Changes(
        np.flatnonzero(fresh).astype(np.int32), np.flatnonzero(gone).astype(np.int32), kept
    )
