"""What loaders share: malformed rows named by file, line and field; JSON lines; gzip."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import polars as pl

from fusion.data.reading_progress import byte_progress
from fusion.errors import BadRowError, DataError, explain

__all__ = [
    "BadRows",
    "Field",
    "checked",
    "encodable",
    "open_bytes",
    "read_json_lines",
    "short",
    "whole_gzip",
]

_WANTED = {"id": "text that is not empty", "number": "a number", "text": "text"}


@dataclass
class BadRows:
    """What to do at a malformed row, and how many there were.

    Attributes:
        rule: ``error`` raises at the first, ``skip`` counts.
        count: malformed rows so far.
    """

    rule: Literal["error", "skip"] = "error"
    count: int = 0

    def __post_init__(self) -> None:
        if self.rule not in ("error", "skip"):
            raise DataError(explain("on_bad_rows", "'error' or 'skip'", repr(self.rule)))

    def add(self, source: Path, line: int, name: str, wanted: str, got: str) -> None:
        """One malformed row; ``name`` is the field at fault, "" if it is the row as a whole.

        Raises:
            BadRowError: under the rule ``error``.
        """
        self.count += 1
        if self.rule == "error":
            raise BadRowError(
                explain(
                    f"{source}, line {line}",
                    f"{name} as {wanted}" if name else wanted,
                    got,
                    "mend the file or pass on_bad_rows='skip'",
                ),
                source=str(source),
                line=line,
                field=name,
            )


@dataclass(frozen=True, slots=True)
class Field:
    """A column that is wanted.

    Attributes:
        name: what it is called here.
        source: its name in the header, or its place (from 0) in a file without one.
        kind: ``id`` (text, not empty), ``number`` (finite) or ``text`` (may be empty).
    """

    name: str
    source: str | int
    kind: Literal["id", "number", "text"] = "text"


@contextmanager
def open_bytes(path: Path, progress: bool) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
    """The file's bytes (gzip is told by its first bytes), and a function that moves the bar."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with byte_progress(f"read {path.name}", path.stat().st_size, show=progress) as update:
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            yield stream, lambda: update(raw.tell())  # type: ignore[misc]


@contextmanager
def whole_gzip(path: Path, line: Callable[[], int]) -> Iterator[None]:
    """Turn a broken gzip stream into an error that says where; it is never only a bad row."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadRowError(
            explain(
                f"{path}, line {line()}", "the whole of a gzip file", str(error),
                "the file is truncated or damaged: get it again",
            ),
            source=str(path),
            line=line(),
        ) from error  # fmt: skip


def checked(frame: pl.DataFrame, fields: Sequence[Field], path: Path, bad: BadRows) -> pl.DataFrame:
    """Check and cast columns of text: ids not empty, numbers finite.

    Args:
        frame: a String column for each of ``fields``, and ``line``.
        fields: what each column must be.
        path: the file, for messages.
        bad: what to do with rows that fail.

    Returns:
        The rows that pass; numbers as Float64.
    """
    good: list[pl.Series] = []
    columns: list[pl.Series] = []
    for f in fields:
        column = frame[f.name]
        if f.kind == "number":
            column = column.cast(pl.Float64, strict=False)
            good.append(column.is_finite().fill_null(value=False))
        elif f.kind == "id":
            good.append((column != "").fill_null(value=False))
        columns.append(column)
    out = pl.DataFrame([*columns, frame["line"]])
    if not good:
        return out
    keep = pl.select(pl.all_horizontal(good)).to_series()
    if keep.all():
        return out
    for row in (~keep).arg_true().to_list():
        wrong = [f for f in fields if f.kind != "text"]
        f = next(f for f, ok in zip(wrong, good, strict=True) if not ok[row])
        bad.add(path, frame["line"][row], f.name, _WANTED[f.kind], repr(frame[f.name][row]))
    return out.filter(keep)


def read_json_lines(
    path: Path,
    bad: BadRows,
    *,
    parse: Callable[[str], Any] = json.loads,
    progress: bool = True,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line of a JSON-lines file (plain or gzip).

    Args:
        path: the file; its text is UTF-8.
        bad: what to do with a line that is no object.
        parse: another reader of one line; it raises ``ValueError`` or ``SyntaxError``.
        progress: show a bar for large files.

    Raises:
        BadRowError: a malformed line under the rule ``error``; a truncated gzip file always.
    """
    line = 0
    with open_bytes(path, progress) as (stream, moved), whole_gzip(path, lambda: line + 1):
        while lines := list(islice(stream, 2000)):
            moved()
            for raw in lines:
                line += 1
                if not raw.strip():
                    continue
                try:
                    value = parse(raw.decode())
                except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
                    text = raw.decode("utf-8", "replace")
                    bad.add(path, line, "", "one JSON object", f"{short(text)} ({error})")
                    continue
                if isinstance(value, dict):
                    yield line, value
                else:
                    bad.add(path, line, "", "one JSON object", short(repr(value)))


def short(text: str, length: int = 80) -> str:
    """The beginning of a line, quoted, for a message."""
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= length else text[:length] + "...")


def encodable(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8 (JSON may hold half of a surrogate pair)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
