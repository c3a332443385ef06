"""`Dataset.from_frames`: pandas, polars and pyarrow tables in, checked, ordered, indexed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
import numpy.typing as npt

from fusion.data.columns import Ids, clean, eager, ids_of, numbers_of, times_of
from fusion.data.dataset import Catalog, Dataset, Interactions
from fusion.data.order import event_order
from fusion.data.template import DEFAULT_TEMPLATE, check_template, joined, render_text
from fusion.data.vocabulary import Vocabulary
from fusion.errors import BadRowError, DataError, explain

__all__ = ["DEFAULT_TEMPLATE", "Duplicates", "OnBadRows", "dataset_from_frames", "render_text"]

log = logging.getLogger(__name__)

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
        items: columns ``item_id`` and optionally ``title``, ``text``, ``categories`` (text or a
            list of texts) and any others, which the template may name and which are kept as fields.
            ``None``: items are known by their interactions alone.
        template: what encoders and rankers read of an item; a piece whose fields are all empty is
            left out together with the punctuation that follows it.
        min_rating: keep only events rated at least this (implicit feedback from ratings), before
            duplicates are resolved; what falls is counted in ``report["below_min_rating"]``.
        duplicates: which event of a repeated (user, item) pair stands: the ``last`` in time (of
            equal times the higher rated), the ``first`` (likewise), or an ``error``.
        on_bad_rows: ``error`` raises at the first row with an empty id, a NaN or infinite rating or
            a NaN or infinite timestamp, or an item without id; ``skip`` leaves such rows out and
            counts them in ``report["bad_rows"]`` and ``report["bad_item_rows"]``.
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
    frame = eager(interactions, source)
    users = ids_of(frame, "user_id", source)
    items_met = ids_of(frame, "item_id", source)
    ratings = numbers_of(frame, "rating", source)
    times = times_of(frame, source)

    bad: dict[str, npt.NDArray[np.bool_]] = {
        "user_id": users.empty(),
        "item_id": items_met.empty(),
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

    n = len(keep)
    if not keep.any():
        raise DataError(
            explain(
                source, "at least one usable interaction", f"none in {n} rows", f"report: {report}"
            )
        )
    users, items_met = users.take(keep), items_met.take(keep)
    ratings = np.full(n, np.nan)[keep] if ratings is None else ratings[keep]
    times = np.full(n, np.nan)[keep] if times is None else times[keep]

    catalog = _catalog(items, items_met.used(), template, on_bad_rows, report)
    vocabulary = Vocabulary("user", users.used())
    user_index = _indices(users, vocabulary)
    item_index = _indices(items_met, catalog.vocabulary)
    stands = _resolve_duplicates(
        user_index, item_index, times, ratings, duplicates, source, np.flatnonzero(keep), report
    )
    order = stands[
        event_order(
            user_index[stands],
            times[stands],
            users.take(stands).per_row(),
            items_met.take(stands).per_row(),
        )
    ]
    events = Interactions(
        user_index[order],
        item_index[order],
        times[order] + 0.0,  # -0.0 becomes 0.0
        ratings[order].astype(np.float32) + np.float32(0.0),
    )
    for name, count in report.items():
        if count:
            log.warning("%s: %s = %d", source, name, count)
    return Dataset(vocabulary, catalog, events, report)


def _indices(ids: Ids, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    """(n,) int32: the index of each row's id."""
    of_code = np.array([vocabulary.get(name) for name in ids.names], dtype=np.int32)
    return of_code[ids.codes]


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
    any_bad: npt.NDArray[np.bool_] = np.logical_or.reduce(list(bad.values()))
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
    places: npt.NDArray[np.int64],
    report: dict[str, int],
) -> npt.NDArray[np.int64]:
    """Rows that stand, one a (user, item) pair; the choice never depends on the file's order.

    ``places`` (n,) are the rows of the caller's frame, for the message.
    """
    if rule not in ("last", "first", "error"):
        raise DataError(explain(source, "duplicates 'last', 'first' or 'error'", repr(rule)))
    clock = np.nan_to_num(times, nan=0.0) * (1.0 if rule == "last" else -1.0)
    best_last = (np.nan_to_num(ratings, nan=-np.inf), clock, items, users)
    order: npt.NDArray[np.int64] = np.lexsort(best_last)
    pair = users[order].astype(np.int64) * (np.int64(2) ** 32) + items[order]
    last_of_pair = np.append(pair[1:] != pair[:-1], True)
    extra = int((~last_of_pair).sum())
    if extra and rule == "error":
        of_row = np.empty_like(pair)
        of_row[order] = pair
        again = np.ones(len(pair), dtype=bool)
        again[np.unique(of_row, return_index=True)[1]] = False
        row = int(places[again].min())
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
    stands: npt.NDArray[np.int64] = order[last_of_pair]
    return stands


def _catalog(
    items: Any,
    met: Sequence[str],
    template: str,
    on_bad_rows: OnBadRows,
    report: dict[str, int],
) -> Catalog:
    ids: list[str] = []
    columns: dict[str, list[Any]] = {}
    if items is not None:
        frame = eager(items, "items")
        raw = ids_of(frame, "item_id", "items").per_row().tolist()
        if "" in raw and on_bad_rows == "skip":
            report["bad_item_rows"] = raw.count("")
        elif "" in raw:
            row = raw.index("")
            raise BadRowError(
                explain(f"items, row {row}", "item_id to be text that is not empty", "nothing"),
                source="items", line=row, field="item_id",
            )  # fmt: skip
        first = {name: row for row, name in reversed(list(enumerate(raw))) if name}
        keep = sorted(first.values())
        named = len(raw) - raw.count("")
        if len(keep) < named:
            report["duplicate_items"] = named - len(keep)
        ids = [raw[row] for row in keep]
        for name in frame.columns:
            if name != "item_id":
                values = frame[name].to_list()
                columns[name] = [clean(values[row]) for row in keep]
    check_template(template, columns)
    extra = sorted(set(met) - set(ids))
    if extra and items is not None:
        report["items_without_row"] = len(extra)
    ids += extra
    order = sorted(range(len(ids)), key=lambda i: blake2b(ids[i].encode()).digest())
    ids = [ids[i] for i in order]
    absent: list[Any] = [None] * len(extra)
    columns = {
        name: [padded[i] for i in order]
        for name, padded in ((name, values + absent) for name, values in columns.items())
    }
    names = list(columns)
    texts = tuple(
        render_text(template, dict(zip(names, row, strict=True)))
        for row in (zip(*columns.values(), strict=True) if columns else ((),) * len(ids))
    )
    titles = columns.get("title", [None] * len(ids))
    return Catalog(
        Vocabulary("item", ids),
        texts,
        tuple(joined(t) or name for t, name in zip(titles, ids, strict=True)),
        {name: tuple(values) for name, values in columns.items()},
    )
