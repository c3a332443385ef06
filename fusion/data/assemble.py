"""The last step of every loader: checked rows and the common options become a `Dataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict

import polars as pl

from fusion.data.dataset import Dataset
from fusion.data.filters import k_core as filter_k_core
from fusion.data.frames import dataset_from_frames
from fusion.data.rows import BadRows
from fusion.data.template import DEFAULT_TEMPLATE
from fusion.errors import BadRowError, DataError, explain

__all__ = ["DatasetOptions", "assemble"]


class DatasetOptions(TypedDict, total=False):
    """What every loader takes.

    Attributes:
        template: the text of an item, from its fields; see `fusion.data.frames`.
        min_rating: keep only events rated at least this.
        on_bad_rows: ``error`` raises at the first malformed row, ``skip`` leaves them out and
            counts them in ``report["bad_rows"]`` (interactions) and ``report["bad_item_rows"]``.
        duplicates: which event of a repeated (user, item) pair stands; see `fusion.data.frames`.
        k_core: fewest events of a user and of an item, as one number or as ``(user, item)``;
            applied last. None: no filter.
    """

    template: str
    min_rating: float | None
    on_bad_rows: Literal["error", "skip"]
    duplicates: Literal["last", "first", "error"]
    k_core: int | Sequence[int] | None


def assemble(
    interactions: pl.DataFrame,
    items: pl.DataFrame | None,
    path: Path,
    *,
    bad: BadRows,
    bad_items: BadRows,
    counts: Mapping[str, int] | None = None,
    template: str = DEFAULT_TEMPLATE,
    min_rating: float | None = None,
    on_bad_rows: Literal["error", "skip"] = "error",
    duplicates: Literal["last", "first", "error"] = "last",
    k_core: int | Sequence[int] | None = None,
) -> Dataset:
    """Build the data set.

    Args:
        interactions: as `Dataset.from_frames` takes them; a column ``line`` holds line numbers.
        items: likewise.
        path: the file of the interactions, for messages.
        bad: what was left out of the interactions so far.
        bad_items: what was left out of the items so far.
        counts: further entries of the report.
        template: see `DatasetOptions`, as for the rest.
        min_rating: see `DatasetOptions`.
        on_bad_rows: see `DatasetOptions`.
        duplicates: see `DatasetOptions`.
        k_core: see `DatasetOptions`.
    """
    lines = interactions["line"] if "line" in interactions.columns else None
    try:
        data = dataset_from_frames(
            interactions.drop("line", strict=False),
            None if items is None else items.drop("line", strict=False),
            template=template,
            min_rating=min_rating,
            duplicates=duplicates,
            on_bad_rows=on_bad_rows,
            source=str(path),
        )
    except BadRowError as error:
        if lines is None or error.source != str(path):
            raise
        line = int(lines[error.line])
        message = str(error).replace(f", row {error.line}:", f", line {line}:", 1)
        raise BadRowError(message, source=error.source, line=line, field=error.field) from error
    report = {**(counts or {}), **data.report}
    for name, rows in (("bad_rows", bad), ("bad_item_rows", bad_items)):
        if rows.count:
            report[name] = report.get(name, 0) + rows.count
    data = replace(data, report=report)
    return data if k_core is None else filter_k_core(data, *_both(k_core))


def _both(k: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(k, int):
        return k, k
    if len(k) != 2:
        raise DataError(explain("k_core", "a number or (user, item)", repr(k)))
    return k[0], k[1]
