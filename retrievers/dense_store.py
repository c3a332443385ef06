"""Vectors in rows: a base that may be a memory-mapped file, and what came later, in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.errors import CorruptArtifactError, explain

__all__ = ["VectorStore"]

#: rows that are copied at once: 25 MB at 384 dimensions
CHUNK = 16_384
#: numpy's names of what a vector may be made of, and safetensors'
_NAMES = {"<f4": "F32", "<f2": "F16"}


class VectorStore:
    """(N, D) vectors of length 1; rows are only ever added.

    Args:
        base: (N, D) float32 or float16, in memory or memory-mapped; never written to.
    """

    def __init__(self, base: npt.NDArray[Any]) -> None:
        self._base = np.asarray(base)  # a mapped array as a plain one: faster to index
        self._later = np.empty((0, base.shape[1]), base.dtype)

    def __len__(self) -> int:
        return len(self._base) + len(self._later)

    @property
    def width(self) -> int:
        """D."""
        return int(self._base.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which the vectors are kept."""
        return self._base.dtype

    def take(self, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """(R, D) float32: a copy of the rows ``rows`` (R,)."""
        if not len(self._later):
            return np.asarray(self._base[rows], np.float32)
        out = np.empty((len(rows), self.width), np.float32)
        late = rows >= len(self._base)
        out[~late] = self._base[rows[~late]]
        out[late] = self._later[rows[late] - len(self._base)]
        return out

    def block(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """(R, D) float32: the rows from ``start`` up to ``stop``, uncopied where it can be."""
        split = len(self._base)
        if stop <= split:
            return np.asarray(self._base[start:stop], np.float32)
        late = self._later[max(start - split, 0) : stop - split]
        return np.concatenate([self._base[start:split], late]).astype(np.float32, copy=False)

    def append(self, vectors: npt.NDArray[np.float32]) -> None:
        """Add rows (R, D) at the end."""
        self._later = np.concatenate([self._later, vectors.astype(self.dtype)])

    def write(self, path: Path) -> None:
        """Write all rows as one array ``vectors`` in safetensors' format, a piece at a time."""
        size = len(self) * self.width * self.dtype.itemsize
        about = {
            "dtype": _NAMES[self.dtype.str],
            "shape": [len(self), self.width],
            "data_offsets": [0, size],
        }
        header = json.dumps({"vectors": about}).encode()
        header += b" " * (-len(header) % 8)  # the numbers are aligned
        with path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for part in (self._base, self._later):
                for start in range(0, len(part), CHUNK):
                    file.write(np.ascontiguousarray(part[start : start + CHUNK]).data)

    @classmethod
    def read(cls, path: Path) -> VectorStore:
        """What `write` wrote, memory-mapped: rows are read from the disk when asked for.

        Raises:
            CorruptArtifactError: another kind of file.
        """
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                about = json.loads(file.read(min(length, 4096)))["vectors"]
            dtype = {name: kind for kind, name in _NAMES.items()}[about["dtype"]]
            rows, width = map(int, about["shape"])
            base = np.memmap(path, dtype, "r", offset=8 + length, shape=(rows, width))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptArtifactError(
                explain(str(path), "a file of vectors", f"something else ({error!r})")
            ) from error
        return cls(base)
