"""Encoding a catalogue in bounded memory: in pieces, into a mapped file, resumable."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.artifacts import read_json
from fusion.atomic import write_text
from fusion.progress import track
from retrievers.dense_store import CHUNK
from retrievers.encoder import Encoder

__all__ = ["encoded"]

#: texts between two notes of how far it is; batches are made of texts of like length within
PIECE = 2_048
#: vectors of more bytes are kept in a file from the start
IN_MEMORY = 2**28


@contextmanager
def encoded(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    tokens: int,
    batch_size: int,
    dtype: str,
    folder: Path | None,
    progress: bool,
) -> Iterator[npt.NDArray[Any]]:
    """(len(texts), D) vectors of length 1 as ``dtype``; equal texts have equal vectors.

    With a ``folder``, pieces are written to a file in it, together with how many are done, under a
    name made of the encoder's weights, the texts and the settings: the same call after a kill goes
    on from there. The files are removed when the ``with`` ends well; the vectors stay readable.

    Args:
        encoder: asked in its own precision.
        texts: one at least.
        tokens: read of a text.
        batch_size: texts at once.
        dtype: ``float32`` or ``float16``.
        folder: made if it is not there; ``None`` = in memory, or in a file without a name if the
            vectors take more than 256 MB.
        progress: show a bar.
    """
    first: dict[str, int] = {}
    original = np.array([first.setdefault(text, i) for i, text in enumerate(texts)])
    unique = np.flatnonzero(original == np.arange(len(texts)))
    shape, done, note, file = (len(texts), encoder.width), 0, None, None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        key = _key(encoder, texts, tokens, batch_size, dtype)
        file, note = folder / f"vectors-{key}.npy", folder / f"vectors-{key}.json"
        if file.is_file() and note.is_file():
            done = int(read_json(note)["texts"])
        mode: Any = "r+" if done else "w+"
        vectors: Any = np.lib.format.open_memmap(file, mode=mode, dtype=dtype, shape=shape)
    else:
        vectors = _scratch(shape, dtype)
    starts = range(done, len(unique), PIECE)
    for start in track(starts, "encode items", total=len(starts), show=progress):
        rows = unique[start : start + PIECE]
        vectors[rows] = encoder.encode(
            [texts[row] for row in rows], tokens=tokens, batch_size=batch_size, exact=False
        )
        if note is not None:
            vectors.flush()
            write_text(note, json.dumps({"texts": start + len(rows)}))
    repeated = np.flatnonzero(original != np.arange(len(texts)))
    for start in range(0, len(repeated), CHUNK):
        rows = repeated[start : start + CHUNK]
        vectors[rows] = vectors[original[rows]]
    yield vectors
    if file is not None and note is not None:
        with suppress(OSError):  # some systems keep a file that is mapped
            note.unlink()
            file.unlink()


def _scratch(shape: tuple[int, int], dtype: str) -> npt.NDArray[Any]:
    if shape[0] * shape[1] * np.dtype(dtype).itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def _key(encoder: Encoder, texts: Sequence[str], tokens: int, batch_size: int, dtype: str) -> str:
    digest = sha256(encoder.digest.encode())
    digest.update(f"{tokens} {batch_size} {dtype} {encoder.bf16} {PIECE}".encode())
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()[:16]
