"""Delimited text files: a fast way for the usual case and an exact one for everything else.

Files are read in blocks. A block whose lines all have the right number of fields and no quote is
split and cast by polars; anything else goes through Python's ``csv`` one record at a time, which
knows the line. Both ways end in the same checks, so what is a bad row never depends on the way it
was read.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import polars as pl

from fusion.data.rows import BadRows, Field, checked, open_bytes, short, whole_gzip
from fusion.errors import DataError, explain

__all__ = ["Layout", "read_delimited"]

_BLOCK = 16 * 2**20
_RECORDS = 200_000
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Layout:
    """How a delimited file is written.

    Attributes:
        fields: the columns wanted, in order.
        separator: between fields; one character if ``quoted``.
        header: whether the first line names the columns.
        width: fields on a line of a file without header.
        encoding: one in which a line feed is the byte 10.
        quoted: whether fields may stand in double quotes (doubled inside), over several lines.
        spill: the place of a field that may itself hold the separator (a title with ``::``).
        others: keep the columns that ``fields`` does not name too, as text under their own names.
    """

    fields: Sequence[Field]
    separator: str = ","
    header: bool = True
    width: int = 0
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    quoted: bool = True
    spill: int | None = None
    others: bool = False

    def header_of(self, path: Path) -> list[str]:
        """The names in the first line."""
        with open_bytes(path, progress=False) as (stream, _), whole_gzip(path, lambda: 1):
            return self.names_in(stream)

    def names_in(self, stream: IO[bytes]) -> list[str]:
        """The names in the next line of ``stream``."""
        text = stream.readline().removeprefix(_BOM).decode(self.encoding, "replace")
        return next(csv.reader([text.rstrip("\r\n")], delimiter=self.separator), [])

    def resolved(self, path: Path, names: Sequence[str] | None) -> tuple[list[Field], int]:
        """The fields with their places instead of names, and the width of a line.

        Raises:
            DataError: the header lacks a field, or has it twice.
        """
        if names is None:
            return list(self.fields), self.width
        found = []
        for wanted in self.fields:
            if names.count(str(wanted.source)) != 1:
                raise DataError(
                    explain(
                        str(path), f"one column {wanted.source!r}", f"columns {list(names)}",
                        "map the columns to the file's own names",
                    )
                )  # fmt: skip
            found.append(Field(wanted.name, names.index(str(wanted.source)), wanted.kind))
        if self.others:
            taken = {f.source for f in found} | {f.name for f in found}
            found += [
                Field(name, place)
                for place, name in enumerate(names)
                if place not in taken and name not in taken and name
            ]
        return found, len(names)


def read_delimited(
    path: Path, layout: Layout, bad: BadRows, *, progress: bool = True
) -> pl.DataFrame:
    """Read a delimited text file (plain or gzip).

    Returns:
        Columns as ``layout.fields`` names them (ids and texts String, numbers Float64, finite)
        and ``line`` (Int64, from 1), one row a record that is well formed. Blank lines are no rows.

    Raises:
        BadRowError: a malformed row under the rule ``error``; a truncated gzip file always.
        DataError: a column that the header lacks.
    """
    frames: list[pl.DataFrame] = []
    line = 1
    with open_bytes(path, progress) as (stream, moved), whole_gzip(path, lambda: line):
        names = None
        if layout.header:
            names = layout.names_in(stream)
            line = 2
        fields, width = layout.resolved(path, names)
        for block in _blocks(stream):
            moved()
            if line == 1:
                block = block.removeprefix(_BOM)  # noqa: PLW2901
            fast = _split(block, layout, fields, width, line)
            if fast is None and layout.quoted:
                # a quote may stay open beyond this block: the rest is one stream of lines
                lines = _numbered(path, stream, block, line, moved)
                frames += _records(path, lines, layout, fields, width, bad)
                break
            if fast is None:
                lines = enumerate(io.BytesIO(block), line)
                frames += _records(path, lines, layout, fields, width, bad)
            else:
                frames.append(checked(fast, fields, path, bad))
            line += block.count(b"\n")
    return pl.concat(frames) if frames else checked(_frame([], fields), fields, path, bad)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Blocks that end at the end of a line."""
    while block := stream.read(_BLOCK):
        yield block + stream.readline()


def _numbered(
    path: Path, stream: IO[bytes], block: bytes, line: int, moved: Callable[[], None]
) -> Iterator[tuple[int, bytes]]:
    at = line
    with whole_gzip(path, lambda: at):
        for raw in io.BytesIO(block):
            yield at, raw
            at += 1
        for raw in stream:
            if at % 50_000 == 0:
                moved()
            yield at, raw
            at += 1


def _split(
    block: bytes, layout: Layout, fields: Sequence[Field], width: int, line: int
) -> pl.DataFrame | None:
    """The wanted columns of a block without anything odd, as text; None if something is odd."""
    try:
        text = block.decode(layout.encoding)
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n").removesuffix("\r")
    if layout.quoted and ('"' in text or "\r" in text):
        return None
    lines = pl.DataFrame({"text": pl.Series(text.split("\n"), dtype=pl.String)})
    lines = lines.with_row_index("line", offset=line).filter(pl.col("text") != "")
    separators = lines["text"].str.count_matches(layout.separator, literal=True)
    if not (separators == width - 1).all():
        return None
    parts = lines["text"].str.split_exact(layout.separator, width - 1).struct
    return pl.DataFrame(
        [
            *(parts.field(f"field_{f.source}").alias(f.name) for f in fields),
            lines["line"].cast(pl.Int64),
        ]
    )


class _Tape:
    """Lines that can be taken back, so that a broken quote does not swallow the rows after it."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines, self._back = lines, deque[tuple[int, str]]()
        self.taken: list[tuple[int, str]] = []

    def __iter__(self) -> _Tape:
        return self

    def __next__(self) -> str:
        self.taken.append(self._back.popleft() if self._back else next(self._lines))
        return self.taken[-1][1]

    def back(self) -> None:
        """Give back all lines of the record but its first."""
        self._back.extendleft(reversed(self.taken[1:]))


def _records(
    path: Path,
    lines: Iterator[tuple[int, bytes]],
    layout: Layout,
    fields: Sequence[Field],
    width: int,
    bad: BadRows,
) -> list[pl.DataFrame]:
    """As `_split` and `checked`, one record at a time."""
    frames: list[pl.DataFrame] = []
    rows: list[tuple[Any, ...]] = []
    places = [int(f.source) for f in fields]

    def flush() -> None:
        frames.append(checked(_frame(rows, fields), fields, path, bad))
        rows.clear()

    def refuse(line: int, wanted: str, got: str) -> None:
        if bad.rule == "error":
            flush()  # an earlier row may be at fault in a field
        bad.add(path, line, "", wanted, got)

    decoded = ((n, raw.decode(layout.encoding, "surrogateescape")) for n, raw in lines)
    read = _quoted if layout.quoted else _plain
    for line, row, fault in read(decoded, layout, width):
        if fault:
            refuse(line, f"{width} fields", fault)
        elif row and any(
            "\udc80" <= c <= "\udcff" for text in row if not text.isascii() for c in text
        ):
            refuse(line, f"{layout.encoding} text", f"other bytes in {row!r}")
        elif row:
            rows.append((*(row[place] for place in places), line))
            if len(rows) == _RECORDS:
                flush()
    flush()
    return frames


_Record = tuple[int, list[str], str]  # line, fields, what is wrong ("" if nothing)


def _plain(lines: Iterator[tuple[int, str]], layout: Layout, width: int) -> Iterator[_Record]:
    for line, text in lines:
        text = text.rstrip("\n").removesuffix("\r")  # noqa: PLW2901
        row = text.split(layout.separator) if text else []
        extra = len(row) - width
        if layout.spill is not None and extra > 0:
            end = layout.spill + extra + 1
            row[layout.spill : end] = [layout.separator.join(row[layout.spill : end])]
        yield line, row, "" if len(row) in (0, width) else f"{len(row)}: {short(text)}"


def _quoted(lines: Iterator[tuple[int, str]], layout: Layout, width: int) -> Iterator[_Record]:
    tape = _Tape(lines)
    reader = csv.reader(tape, delimiter=layout.separator, strict=True)
    while True:
        tape.taken = []
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line, text = tape.taken[0]
            yield line, [], f"{short(text)} ({error})"
            tape.back()
            reader = csv.reader(tape, delimiter=layout.separator, strict=True)
            continue
        line, text = tape.taken[0]
        if len(row) in (0, width):
            yield line, row, ""
        else:
            yield line, [], f"{len(row)}: {short(text)}"
            tape.back()


def _frame(rows: Sequence[tuple[Any, ...]], fields: Sequence[Field]) -> pl.DataFrame:
    schema: dict[str, Any] = {f.name: pl.String for f in fields}
    return pl.DataFrame(list(rows), schema={**schema, "line": pl.Int64}, orient="row")
