"""Columns of the caller's frame as arrays: ids as codes, numbers and times as float64."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from fusion.data.rows import encodable
from fusion.errors import BadRowError, DataError, explain

__all__ = ["Ids", "clean", "eager", "ids_of", "numbers_of", "times_of"]

log = logging.getLogger(__name__)

#: seconds after which (year 5138) a timestamp is more likely of another unit
_FAR = 1e11


@dataclass(frozen=True, slots=True)
class Ids:
    """A column of external ids; each id is held once, however often it stands in the column.

    Attributes:
        codes: (n,) int32 places in ``names``.
        names: the ids; "" stands for null.
    """

    codes: npt.NDArray[np.int32]
    names: npt.NDArray[np.object_]

    def empty(self) -> npt.NDArray[np.bool_]:
        """(n,) bool: which rows have no id."""
        return np.array([not name for name in self.names], dtype=bool)[self.codes]

    def take(self, rows: npt.NDArray[Any]) -> Ids:
        """The rows ``rows`` (indices or a mask)."""
        return Ids(self.codes[rows], self.names)

    def used(self) -> list[str]:
        """The ids that stand in at least one row, sorted."""
        return sorted(self.names[np.unique(self.codes)])

    def per_row(self) -> npt.NDArray[np.object_]:
        """(n,) objects: the id of each row."""
        return self.names[self.codes]


def eager(frame: Any, source: str) -> nw.DataFrame[Any]:
    """Any supported frame, wrapped; a lazy one is collected."""
    try:
        wrapped = nw.from_native(frame, allow_series=False)
    except TypeError as error:
        raise DataError(
            explain(source, "a pandas, polars or pyarrow table", type(frame).__name__)
        ) from error
    return wrapped.collect() if isinstance(wrapped, nw.LazyFrame) else wrapped


def ids_of(frame: nw.DataFrame[Any], name: str, source: str) -> Ids:
    """A column of text ids; null is "".

    Raises:
        DataError: no such column.
        BadRowError: an id that is not text. Numbers are refused even inside a categorical column:
            7, 7.0 and "007" must not become one id.
    """
    if name not in frame.columns:
        raise DataError(
            explain(source, f"a column {name!r}", f"columns {frame.columns}", "rename the column")
        )
    column = frame[name]
    try:
        array = _combined(column)
    except (pa.ArrowException, UnicodeEncodeError):
        return _checked_one_by_one(column, name, source)
    kind = array.type.value_type if pt.is_dictionary(array.type) else array.type
    if not (pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind)):
        return _checked_one_by_one(column, name, source)
    coded = array.cast(pa.large_string()).dictionary_encode()
    names = np.array(["", *coded.dictionary.to_pylist()], dtype=object)
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return Ids(codes.astype(np.int32) + 1, names)


def _combined(column: nw.Series[Any]) -> Any:
    array = column.to_arrow()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _checked_one_by_one(column: nw.Series[Any], name: str, source: str) -> Ids:
    """The slow way, for columns of mixed or wrong type: it finds the row at fault."""
    known: dict[str, int] = {"": 0}
    codes = np.zeros(len(column), np.int32)
    for row, value in enumerate(column.to_list()):
        if _missing(value):
            continue
        if not isinstance(value, str) or not encodable(value):
            raise BadRowError(
                explain(
                    f"{source}, row {row}",
                    f"{name} as text",
                    f"{value!r} ({type(value).__name__}, column type {column.dtype})",
                    f"cast the column to text yourself, so that you choose how {name} is written",
                ),
                source=source,
                line=row,
                field=name,
            )
        codes[row] = known.setdefault(value, len(known))
    return Ids(codes, np.array(list(known), dtype=object))


def _missing(value: Any) -> bool:
    """Whether ``value`` is None, NaN, or pandas' NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def clean(value: Any) -> Any:
    """A field of an item as a plain value: missing is None, array-likes are lists."""
    if _missing(value):
        return None
    return value.tolist() if isinstance(value, np.ndarray) else value


def numbers_of(frame: nw.DataFrame[Any], name: str, source: str) -> npt.NDArray[np.float64] | None:
    """(n,) float64, NaN for null; None if there is no such column.

    Raises:
        DataError: the column is not of numbers (text that looks like numbers is refused too).
    """
    if name not in frame.columns:
        return None
    column = frame[name]
    if len(column) == column.null_count():
        return np.full(len(column), np.nan)
    if not column.dtype.is_numeric():
        raise DataError(explain(source, f"{name} as numbers", str(column.dtype), "cast the column"))
    array = _combined(column).cast(pa.float64(), safe=False)
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)


def times_of(frame: nw.DataFrame[Any], source: str) -> npt.NDArray[np.float64] | None:
    """(n,) float64 seconds since the epoch of the column ``timestamp``; None if there is none.

    Dates and datetimes are converted (without a time zone they are UTC). Numbers are seconds;
    above 2**53 they would lose digits, so they are refused.
    """
    if "timestamp" not in frame.columns:
        return None
    column = frame["timestamp"]
    if column.dtype == nw.Date:
        column = column.cast(nw.Datetime("us"))
    if column.dtype == nw.Datetime:
        micros = column.dt.timestamp("us").to_list()
        return np.array([np.nan if _missing(t) else t / 1e6 for t in micros], dtype=np.float64)
    values = numbers_of(frame, "timestamp", source)
    if values is None:
        return None
    newest = float(np.abs(values).max(initial=0.0, where=np.isfinite(values)))
    if newest > 2**53:
        raise DataError(
            explain(
                f"{source}, timestamp",
                "seconds since the epoch (below 2**53)",
                "larger numbers, perhaps nanoseconds",
                "divide, or pass a datetime column",
            )
        )
    if newest > _FAR:
        log.warning(
            "%s: timestamps after the year 5000; seconds are meant, not milliseconds", source
        )
    return values
