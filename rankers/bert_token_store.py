"""Token vectors of a whole catalogue in one memory-mapped file.

The file is nothing but float16 numbers, (tokens, E): the tokens of item 0, of item 1, and so on;
where an item's tokens begin follows from the lengths of the texts. A request reads the pages of its
candidates only, and processes that share the file share the memory.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, explain
from fusion.ragged import spans

__all__ = ["TokenStore"]

_DTYPE = np.dtype("<f2")


class TokenStore:
    """Vectors of ``I`` items' tokens, first written with `put` and `close`, then read.

    Args:
        lengths: (I,) int64: tokens of each item, 0 = none.
        size: numbers a vector has.
        folder: where the file is made; ``None`` = a temporary folder that lives as long as this
            object.
    """

    def __init__(
        self, lengths: npt.NDArray[np.int64], size: int, folder: Path | None = None
    ) -> None:
        self._lengths = lengths
        self._starts = np.cumsum(lengths) - lengths
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="recfusion-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._path = folder / f"tokens-{secrets.token_hex(4)}.f16"
        self._shape = (int(lengths.sum()), size)
        self._vectors = np.memmap(self._path, _DTYPE, "w+", shape=self._shape)

    @classmethod
    def open(cls, path: Path, lengths: npt.NDArray[np.int64], size: int) -> TokenStore:
        """The store in the file ``path``, read only.

        Raises:
            DataError: the file holds another number of vectors, or others than of ``size``.
        """
        store = cls.__new__(cls)
        store._lengths, store._starts = lengths, np.cumsum(lengths) - lengths
        store._path = path
        store._shape = (int(lengths.sum()), size)
        expected, got = 2 * store._shape[0] * size, path.stat().st_size
        if got != expected:
            wanted = f"{expected} bytes, {store._shape} in float16"
            raise DataError(explain(f"token vectors in {path}", wanted, f"{got}", "fit again"))
        store._vectors = np.memmap(path, _DTYPE, "r", shape=store._shape)
        return store

    def put(self, items: npt.NDArray[np.int64], vectors: npt.NDArray[np.float16]) -> None:
        """Write ``vectors`` (n, E): those of the first of ``items``, then of the second, ..."""
        self._vectors[spans(self._starts[items], self._lengths[items])] = vectors

    def close(self) -> None:
        """Everything is written: from now on it is read only."""
        self._vectors.flush()
        self._vectors = np.memmap(self._path, _DTYPE, "r", shape=self._shape)

    def gather(
        self, items: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
        """Vectors (n, E) of ``items``, one after the other, and how many each has, (K,) int64."""
        lengths = self._lengths[items]
        return self._vectors[spans(self._starts[items], lengths)], lengths

    def copy(self, path: Path) -> None:
        """Make ``path`` a copy of the file, written aside and renamed."""
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            shutil.copyfile(self._path, aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
