"""External ids (text, at the border) and internal indices (int32, everywhere else)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, UnknownItemError, UnknownUserError, explain

__all__ = ["Vocabulary"]


class Vocabulary:
    """A two-way map between ids and indices; the index of an id is its place in ``ids``.

    Args:
        kind: ``"user"`` or ``"item"``; it chooses the error class.
        ids: unique, not empty strings.
    """

    __slots__ = ("_index", "ids", "kind")

    def __init__(self, kind: str, ids: Iterable[str]) -> None:
        self.kind = kind
        self.ids: tuple[str, ...] = tuple(ids)
        self._index = {name: i for i, name in enumerate(self.ids)}
        if len(self._index) != len(self.ids):
            raise DataError(explain(f"{kind} vocabulary", "unique ids", "repeated ids"))

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def get(self, name: str) -> int:
        """The index of ``name``, or -1."""
        return self._index.get(name, -1)

    def index(self, name: str) -> int:
        """The index of ``name``.

        Raises:
            UnknownUserError, UnknownItemError: with the nearest known ids.
            DataError: ``name`` is not text.
        """
        if not isinstance(name, str):
            raise DataError(
                explain(
                    f"{self.kind}_id",
                    "text",
                    f"{name!r} ({type(name).__name__})",
                    f"pass {str(name)!r}",
                )
            )
        found = self._index.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.ids[:50_000], n=3)
            hint = f"nearest: {', '.join(map(repr, near))}" if near else ""
            error = UnknownUserError if self.kind == "user" else UnknownItemError
            raise error(
                explain(
                    "recfusion", f"one of {len(self.ids)} known {self.kind} ids", repr(name), hint
                )
            )
        return found

    def indices(self, names: Sequence[str]) -> npt.NDArray[np.int32]:
        """(n,) int32, as `index` for each."""
        return np.array([self.index(name) for name in names], dtype=np.int32)
