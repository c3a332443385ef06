"""Plain tables: CSV, TSV or Parquet files with any column names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Unpack

import polars as pl

from fusion.data.assemble import DatasetOptions, assemble
from fusion.data.dataset import Dataset
from fusion.data.delimited import Layout, read_delimited
from fusion.data.rows import BadRows, Field
from fusion.errors import DataError, MissingDataError, explain

__all__ = ["TimestampUnit", "load_tables"]

TimestampUnit = Literal["s", "ms", "us", "ns"]

_KINDS: Mapping[str, Literal["id", "number"]] = {
    "user_id": "id",
    "item_id": "id",
    "rating": "number",
    "timestamp": "number",
}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def load_tables(
    interactions: str | os.PathLike[str],
    items: str | os.PathLike[str] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    item_columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8",
    category_separator: str | None = None,
    timestamp_unit: TimestampUnit = "s",
    progress: bool = True,
    **options: Unpack[DatasetOptions],
) -> Dataset:
    """Load interactions and, if there are any, items.

    Ids in text files are read as they stand: ``007`` stays ``"007"``. Ids in Parquet files must be
    text; numbers are refused, since their text is the caller's to choose.

    Args:
        interactions: ``.csv`` or ``.tsv`` with a header (plain or ``.gz``), or ``.parquet``.
        items: likewise.
        columns: our names to the file's: ``user_id``, ``item_id``, ``rating``, ``timestamp``. What
            is not named is looked for under our name; ``rating`` and ``timestamp`` may be absent.
        item_columns: likewise for the items: ``item_id``, ``title``, ``text``, ``categories``;
            other columns are kept under their own names, as text where the file is text. Default:
            ``item_id`` as in ``columns``, if the items have such a column.
        separator: of the text files; default by the name's ending.
        encoding: of the text files.
        category_separator: splits ``categories`` of a text file into a list, such as ``|``.
        timestamp_unit: what a number in ``timestamp`` counts.
        progress: show bars on standard error.
        options: see `fusion.data.assemble.DatasetOptions`.

    Raises:
        MissingDataError: no such file.
        DataError: an ending that is not known, an unreadable Parquet file, a missing column.
        BadRowError: a malformed row, by file, line and field (Parquet: by row from 0).
    """
    if timestamp_unit not in _PER_SECOND:
        raise DataError(
            explain(
                "load_tables", f"timestamp_unit of {', '.join(_PER_SECOND)}", repr(timestamp_unit)
            )
        )
    bad = BadRows(options.get("on_bad_rows", "error"))
    bad_items = BadRows(bad.rule)
    mapping = dict(columns or {})
    _known(mapping, _KINDS, "columns")
    text = _Text(separator, encoding, progress)
    path = Path(interactions).expanduser()
    events = text.read(path, mapping, ("user_id", "item_id"), tuple(_KINDS), bad, others=False)
    times = events.schema.get("timestamp")
    if timestamp_unit != "s" and times is not None and times.is_numeric():
        events = events.with_columns(pl.col("timestamp") / _PER_SECOND[timestamp_unit])
    table = None
    if items is not None:
        items_path = Path(items).expanduser()
        item_mapping = dict(item_columns or {})
        if item_columns is None and mapping.get("item_id") in text.names(items_path):
            item_mapping = {"item_id": mapping["item_id"]}
        wanted = ("item_id", "title", "text", "categories")
        table = text.read(items_path, item_mapping, ("item_id",), wanted, bad_items, others=True)
        if category_separator and table.schema.get("categories") == pl.String:
            table = table.with_columns(pl.col("categories").str.split(category_separator))
    return assemble(events, table, path, bad=bad, bad_items=bad_items, **options)


def _known(mapping: Mapping[str, str], names: Mapping[str, Any], what: str) -> None:
    unknown = sorted(set(mapping) - set(names))
    if unknown:
        raise DataError(
            explain(
                f"load_tables, {what}",
                f"our names ({', '.join(names)}) to the file's",
                str(unknown),
            )
        )


class _Text:
    """Reading one file of any of the three kinds."""

    def __init__(self, separator: str | None, encoding: Any, progress: bool) -> None:
        self._separator, self._encoding, self._progress = separator, encoding, progress

    def names(self, path: Path) -> list[str]:
        """The file's column names.

        Raises:
            MissingDataError: no such file.
            DataError: a kind of file that is not known, or unreadable.
        """
        if not path.is_file():
            raise MissingDataError(
                explain("load_tables", f"a file {path}", "no such file", "check the path")
            )
        if path.suffix == ".parquet":
            return list(_parquet(pl.read_parquet_schema, path))
        empty = Layout([], self._separator_of(path), encoding=self._encoding, others=True)
        return empty.header_of(path)

    def read(
        self,
        path: Path,
        mapping: Mapping[str, str],
        required: tuple[str, ...],
        optional: tuple[str, ...],
        bad: BadRows,
        *,
        others: bool,
    ) -> pl.DataFrame:
        """The columns ``optional`` that are there under our names, and the ``others``."""
        there = self.names(path)
        sources = {name: mapping.get(name, name) for name in (*required, *optional)}
        sources |= mapping
        wanted = {
            name: source
            for name, source in sources.items()
            if name in required or name in mapping or source in there
        }
        absent = [source for source in wanted.values() if source not in there]
        if absent:
            raise DataError(
                explain(str(path), f"a column {absent[0]!r}", f"columns {there}", "map the columns")
            )
        if path.suffix == ".parquet":
            table: pl.DataFrame = _parquet(pl.read_parquet, path)
            rest = [n for n in there if others and n not in (*wanted.values(), *wanted)]
            return table.select(*(pl.col(s).alias(n) for n, s in wanted.items()), *rest)
        fields = [Field(name, source, _KINDS.get(name, "text")) for name, source in wanted.items()]
        layout = Layout(fields, self._separator_of(path), encoding=self._encoding, others=others)
        return read_delimited(path, layout, bad, progress=self._progress)

    def _separator_of(self, path: Path) -> str:
        plain = Path(path.name.removesuffix(".gz"))
        separator = self._separator or _SEPARATORS.get(plain.suffix)
        if separator is None or len(separator) != 1:
            raise DataError(
                explain(
                    str(path), "a .csv, .tsv or .parquet file, or a separator of one character",
                    f"{plain.suffix or 'no ending'} and separator {separator!r}",
                )
            )  # fmt: skip
        return separator


def _parquet(read: Any, path: Path) -> Any:
    try:
        return read(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(explain(str(path), "a whole Parquet file", str(error))) from error
