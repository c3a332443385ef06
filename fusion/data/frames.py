"""`Dataset.from_frames`: pandas, polars and pyarrow tables in, checked, ordered, indexed."""

from __future__ import annotations

import logging
import string
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Catalog, Dataset, Interactions
from fusion.data.order import event_order
from fusion.data.vocabulary import Vocabulary
from fusion.errors import BadRowError, DataError, explain

__all__ = ["DEFAULT_TEMPLATE", "dataset_from_frames", "render_text"]

log = logging.getLogger(__name__)

DEFAULT_TEMPLATE = "{title}. {categories}. {text}"
OnBadRows = Literal["error", "skip"]
Duplicates = Literal["last", "first", "error"]


def dataset_from_frames(
    interactions: Any,
    items: Any = None,
    *,
    template: str = DEFAULT_TEMPLATE,
    min_rating: float | None = None,
    duplicates: Duplicates = "last",
    on_bad_rows: OnBadRows = "error",
    source: str = "interactions",
) -> Dataset:
    """Build a `Dataset` from the caller's kind of frame.

    Args:
        interactions: columns ``user_id``, ``item_id`` (text) and optionally ``rating`` (number)
            and ``timestamp`` (number of seconds, negative and fractional allowed, or a datetime).
            Other columns are ignored.
        items: columns ``item_id`` and optionally ``title``, ``text``, ``categories`` (text or a list
            of texts) and any others, which the template may name and which are kept as fields.
            ``None``: items are known by their interactions alone.
        template: what encoders and rankers read of an item; a piece whose fields are all empty is
            left out together with the punctuation that follows it.
        min_rating: keep only events rated at least this (implicit feedback from ratings); counted
            in ``report["below_min_rating"]``.
        duplicates: which event of a repeated (user, item) pair stands: the ``last`` in time (of
            equal times the higher rated), the ``first`` (likewise), or an ``error``.
        on_bad_rows: ``error`` raises at the first row with an empty id, a NaN or infinite rating or
            a NaN or infinite timestamp; ``skip`` leaves such rows out and counts them in
            ``report["bad_rows"]``.
        source: what to call the interactions in error messages.

    Returns:
        A data set whose catalogue holds the items of ``items`` and those met only in the
        interactions (``report["items_without_row"]``). Of several rows of one item the first
        stands (``report["duplicate_items"]``). Items are indexed by a hash of their id, since
        equal scores are ordered by index: the order of the caller's rows (often the order of
        first sale) must not decide a tie.

    Raises:
        DataError: a missing column, an id column that is not text, no usable event.
        BadRowError: a malformed row, under ``on_bad_rows="error"``.
    """
    report: dict[str, int] = {}
    frame = _eager(interactions, source)
    user_ids = _ids(frame, "user_id", source)
    item_ids = _ids(frame, "item_id", source)
    ratings = _numbers(frame, "rating", source)
    times = _times(frame, source)

    bad: dict[str, npt.NDArray[np.bool_]] = {
        "user_id": np.array([not name for name in user_ids], dtype=bool),
        "item_id": np.array([not name for name in item_ids], dtype=bool),
    }
    if ratings is not None:
        bad["rating"] = ~np.isfinite(ratings)
    if times is not None:
        bad["timestamp"] = ~np.isfinite(times)
    keep = ~_check_rows(bad, frame, source, on_bad_rows, report)
    if min_rating is not None:
        if ratings is None:
            raise DataError(explain(source, "a rating column for min_rating", "none"))
        low = keep & ~(np.nan_to_num(ratings, nan=-np.inf) >= min_rating)
        report["below_min_rating"] = int(low.sum())
        keep &= ~low

    n = len(user_ids)
    ratings = np.full(n, np.nan) if ratings is None else ratings
    times = np.full(n, np.nan) if times is None else times
    if not keep.all():
        user_ids = [name for name, k in zip(user_ids, keep, strict=True) if k]
        item_ids = [name for name, k in zip(item_ids, keep, strict=True) if k]
        ratings, times = ratings[keep], times[keep]
    if not user_ids:
        raise DataError(
            explain(source, "at least one usable interaction", f"none in {n} rows", f"report: {report}")
        )

    catalog = _catalog(items, item_ids, template, report)
    users = Vocabulary("user", sorted(set(user_ids)))
    user_index = users.indices(user_ids)
    item_index = catalog.vocabulary.indices(item_ids)
    stands = _resolve_duplicates(user_index, item_index, times, ratings, duplicates, source, report)
    order = stands[
        event_order(
            user_index[stands],
            times[stands],
            [user_ids[i] for i in stands],
            [item_ids[i] for i in stands],
        )
    ]
    events = Interactions(
        user_index[order],
        item_index[order],
        times[order].astype(np.float64),
        ratings[order].astype(np.float32),
    )
    for name, count in report.items():
        if count:
            log.warning("%s: %s = %d", source, name, count)
    return Dataset(users, catalog, events, report)


def _eager(frame: Any, source: str) -> nw.DataFrame[Any]:
    try:
        wrapped = nw.from_native(frame, allow_series=False)
    except TypeError as error:
        raise DataError(
            explain(source, "a pandas, polars or pyarrow table", type(frame).__name__)
        ) from error
    return wrapped.collect() if isinstance(wrapped, nw.LazyFrame) else wrapped


def _column(frame: nw.DataFrame[Any], name: str, source: str) -> nw.Series[Any]:
    if name not in frame.columns:
        raise DataError(
            explain(source, f"a column {name!r}", f"columns {frame.columns}", "rename the column")
        )
    return frame[name]


def _ids(frame: nw.DataFrame[Any], name: str, source: str) -> list[str]:
    """Ids as text, "" for null. Numbers are refused: 7, 7.0 and "007" must not become one id."""
    column = _column(frame, name, source)
    if column.dtype in (nw.Categorical, nw.Enum):
        column = column.cast(nw.String)
    values = column.to_list()
    out = []
    for row, value in enumerate(values):
        if isinstance(value, str):
            out.append(value)
        elif value is None or value != value:
            out.append("")
        else:
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
    return out


def _numbers(
    frame: nw.DataFrame[Any], name: str, source: str
) -> npt.NDArray[np.float64] | None:
    if name not in frame.columns:
        return None
    column = frame[name]
    if not (column.dtype.is_numeric() or len(column) == column.null_count()):
        raise DataError(explain(source, f"{name} as numbers", str(column.dtype), "cast the column"))
    values = [np.nan if value is None else value for value in column.to_list()]
    return np.asarray(values, dtype=np.float64)


def _times(frame: nw.DataFrame[Any], source: str) -> npt.NDArray[np.float64] | None:
    """Seconds since the epoch. Whole numbers above 2**53 would lose digits, so they are refused."""
    if "timestamp" not in frame.columns:
        return None
    column = frame["timestamp"]
    if column.dtype == nw.Date:
        column = column.cast(nw.Datetime("us"))
    if column.dtype == nw.Datetime:
        micros = column.dt.timestamp("us").to_list()
        return np.array([np.nan if t is None else t / 1e6 for t in micros], dtype=np.float64)
    values = _numbers(frame, "timestamp", source)
    if values is not None and np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)) > 2**53:
        raise DataError(
            explain(
                f"{source}, timestamp",
                "seconds since the epoch (below 2**53)",
                "larger numbers, perhaps nanoseconds",
                "divide, or pass a datetime column",
            )
        )
    return values


def _check_rows(
    bad: Mapping[str, npt.NDArray[np.bool_]],
    frame: nw.DataFrame[Any],
    source: str,
    on_bad_rows: OnBadRows,
    report: dict[str, int],
) -> npt.NDArray[np.bool_]:
    """(n,) bool: the rows to leave out; raises at the first one under ``on_bad_rows="error"``."""
    if on_bad_rows not in ("error", "skip"):
        raise DataError(explain(source, "on_bad_rows 'error' or 'skip'", repr(on_bad_rows)))
    any_bad = np.logical_or.reduce(list(bad.values()))
    if any_bad.any() and on_bad_rows == "error":
        row = int(np.flatnonzero(any_bad)[0])
        name = next(field for field, mask in bad.items() if mask[row])
        wanted = "text that is not empty" if name.endswith("_id") else "a finite number"
        raise BadRowError(
            explain(
                f"{source}, row {row}",
                f"{name} to be {wanted}",
                repr(frame[name].to_list()[row]),
                "mend the row or pass on_bad_rows='skip' "
                f"({int(any_bad.sum())} of {len(any_bad)} rows are affected)",
            ),
            source=source,
            line=row,
            field=name,
        )
    if any_bad.any():
        report["bad_rows"] = int(any_bad.sum())
    return any_bad


def _resolve_duplicates(
    users: npt.NDArray[np.int32],
    items: npt.NDArray[np.int32],
    times: npt.NDArray[np.float64],
    ratings: npt.NDArray[np.float64],
    rule: Duplicates,
    source: str,
    report: dict[str, int],
) -> npt.NDArray[np.int64]:
    """Rows that stand, one a (user, item) pair; the choice never depends on the file's order."""
    if rule not in ("last", "first", "error"):
        raise DataError(explain(source, "duplicates 'last', 'first' or 'error'", repr(rule)))
    clock = np.nan_to_num(times, nan=0.0) * (1.0 if rule == "last" else -1.0)
    order = np.lexsort((np.nan_to_num(ratings, nan=-np.inf), clock, items, users))
    pair = users[order].astype(np.int64) * (np.int64(2) ** 32) + items[order]
    last_of_pair = np.append(pair[1:] != pair[:-1], True)
    extra = int((~last_of_pair).sum())
    if extra and rule == "error":
        row = int(order[np.flatnonzero(~last_of_pair)[0]])
        raise BadRowError(
            explain(
                f"{source}, row {row}", "each (user_id, item_id) once", f"{extra} repeated",
                "pass duplicates='last' or 'first'",
            ),
            source=source,
            line=row,
            field="item_id",
        )  # fmt: skip
    if extra:
        report["duplicates"] = extra
    return order[last_of_pair]


def _catalog(
    items: Any, met: Sequence[str], template: str, report: dict[str, int]
) -> Catalog:
    ids: list[str] = []
    columns: dict[str, list[Any]] = {}
    if items is not None:
        frame = _eager(items, "items")
        raw = _ids(frame, "item_id", "items")
        if "" in raw:
            row = raw.index("")
            raise BadRowError(
                explain(f"items, row {row}", "item_id to be text that is not empty", "nothing"),
                source="items", line=row, field="item_id",
            )  # fmt: skip
        first = {name: row for row, name in reversed(list(enumerate(raw)))}
        keep = sorted(first.values())
        if len(keep) < len(raw):
            report["duplicate_items"] = len(raw) - len(keep)
        ids = [raw[row] for row in keep]
        for name in frame.columns:
            if name != "item_id":
                values = frame[name].to_list()
                columns[name] = [_clean(values[row]) for row in keep]
    extra = sorted(set(met) - set(ids))
    if extra and items is not None:
        report["items_without_row"] = len(extra)
    ids += extra
    order = sorted(range(len(ids)), key=lambda i: blake2b(ids[i].encode("utf-8", "surrogatepass")).digest())
    ids = [ids[i] for i in order]
    for name, values in columns.items():
        values += [None] * len(extra)
        columns[name] = [values[i] for i in order]
    names = list(columns)
    texts = tuple(
        render_text(template, dict(zip(names, row, strict=True)))
        for row in (zip(*columns.values(), strict=True) if columns else ((),) * len(ids))
    )
    titles = columns.get("title", [None] * len(ids))
    return Catalog(
        Vocabulary("item", ids),
        texts,
        tuple(_joined(t) or name for t, name in zip(titles, ids, strict=True)),
        {name: tuple(values) for name, values in columns.items()},
    )


def _clean(value: Any) -> Any:
    """NaN and null are None; array-likes are lists."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    return value.tolist() if isinstance(value, np.ndarray) else value


def _joined(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, (_joined(v) for v in value)))
    return " ".join(str(value).split())


def render_text(template: str, fields: Mapping[str, Any]) -> str:
    """Fill ``template``; a field that is empty takes the punctuation after it away with it.

    >>> render_text("{title}. {categories}. {text}", {"title": "Heat", "categories": ["Crime", "Drama"]})
    'Heat. Crime, Drama.'
    """
    out = ""
    pending = True  # whether the literal that comes belongs to something that was there
    for literal, name, _spec, _conversion in string.Formatter().parse(template):
        if pending:
            out += literal
        if name is not None:
            value = _joined(fields.get(name))
            pending = bool(value)
            out += value.rstrip(".") if pending else ""
    return " ".join(out.split())
