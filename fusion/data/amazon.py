"""Amazon reviews of the McAuley lab, 2014, 2018 and 2023, in the lab's own layouts.

2014: McAuley et al., "Image-based recommendations on styles and substitutes", SIGIR 2015; He and
McAuley, "Ups and downs", WWW 2016. 2018: Ni et al., "Justifying recommendations using
distantly-labeled reviews and fine-grained aspects", EMNLP 2019. 2023: Hou et al., "Bridging
language and items for retrieval and recommendation", arXiv 2403.03952.

What the shop computed from all events (average rating, number of ratings, sales rank) is not kept:
it would tell a model of the past about the future. ``also_buy`` has the same fault; it is kept as a
field because work on complementary items needs it, and the default template does not read it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import polars as pl

from fusion.cache import cache_folder
from fusion.data.amazon_items import item_of, parse_2014
from fusion.data.assemble import DatasetOptions, assemble
from fusion.data.dataset import Dataset
from fusion.data.delimited import Layout, read_delimited
from fusion.data.download import Remote, fetch, found, missing
from fusion.data.rows import BadRows, Field, encodable, read_json_lines
from fusion.errors import DataError, explain

__all__ = ["Version", "load_amazon"]

Version = Literal[2014, 2018, 2023]

_LAB = "https://mcauleylab.ucsd.edu/public_datasets/data"
_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
#: user, item, rating, time: the keys of a review
_KEYS: Mapping[int, tuple[str, str, str, str]] = {
    2014: ("reviewerID", "asin", "overall", "unixReviewTime"),
    2018: ("reviewerID", "asin", "overall", "unixReviewTime"),
    2023: ("user_id", "parent_asin", "rating", "timestamp"),
}
_NAMES = ("user_id", "item_id", "rating", "timestamp")


def load_amazon(
    path: str | os.PathLike[str] | None = None,
    *,
    version: Version,
    category: str | None = None,
    five_core: bool = True,
    reviews: str | os.PathLike[str] | None = None,
    meta: str | os.PathLike[str] | None = None,
    with_items: bool = True,
    all_items: bool = False,
    offline: bool = False,
    progress: bool = True,
    **options: Unpack[DatasetOptions],
) -> Dataset:
    """Load one category.

    The catalogue has ``title``, ``text`` (the description), ``categories`` (a list), ``brand``,
    ``price`` (a number, None where it is not one) and ``also_buy`` (a list of item ids).

    Args:
        path: a folder with the lab's files, plain or gzip: reviews (``reviews_C_5.json``,
            ``C_5.json``, ``C.jsonl``...) or ratings only (``ratings_C.csv``, ``C.csv``), and
            ``meta_C``. None: the cache, filled from the lab at the first use. A folder with
            ``interactions.parquet`` and ``items.parquet`` is read with `load_tables`.
        version: 2014, 2018 or 2023; it fixes names, keys and the unit of time (2023 counts
            milliseconds).
        category: the lab's name, such as ``Beauty``; may be left out where the folder holds one.
        five_core: of 2014 and 2018, prefer the lab's 5-core of the reviews.
        reviews: this file instead of one found in ``path``.
        meta: likewise.
        with_items: False reads no ``meta`` file.
        all_items: keep items that nobody reviewed in this category's file; by default they are
            left out and counted in ``report["items_without_interactions"]``.
        offline: never download.
        progress: show bars on standard error.
        options: see `fusion.data.assemble.DatasetOptions`.

    Raises:
        MissingDataError: which file, where, its address, how to get it.
        BadRowError: a malformed row, by file, line and field.
    """
    if version not in _KEYS:
        raise DataError(explain("load_amazon", "version 2014, 2018 or 2023", repr(version)))
    folder = None if path is None else Path(path).expanduser()
    if folder is not None and reviews is None and (folder / "interactions.parquet").is_file():
        from fusion.data.tables import load_tables

        items = folder / "items.parquet" if with_items else None
        return load_tables(folder / "interactions.parquet", items, **options)
    if category is None and reviews is None:
        category = _only_category(folder, version)
    names = _Names(version, category or "", five_core)
    reviews_file = names.reviews_in(folder, reviews, offline, progress)
    bad = BadRows(options.get("on_bad_rows", "error"))
    bad_items = BadRows(bad.rule)
    events = _events(reviews_file, version, bad, progress)
    items_frame, counts = None, dict[str, int]()
    if with_items:
        meta_file = names.meta_in(folder, meta, offline, progress)
        met = None if all_items else set(events["item_id"].unique())
        items_frame, counts = _items(meta_file, version, met, bad_items, progress)
    return assemble(
        events, items_frame, reviews_file, bad=bad, bad_items=bad_items, counts=counts, **options
    )


class _Names:
    """File names and addresses of one category."""

    def __init__(self, version: int, category: str, five_core: bool) -> None:
        self.who, c = f"Amazon {version} {category}".strip(), category
        core = ["_5", ""] if five_core else [""]
        if version == 2014:
            stems = [f"reviews_{c}{core_}.json" for core_ in core]
            self.ratings = [f"ratings_{c}.csv"]
            site, meta_site, ending = f"{_SNAP}", _SNAP, "json"
        elif version == 2018:
            stems = [f"{c}{core_}.json" for core_ in core]
            self.ratings = [f"{c}.csv"]
            site = f"{_LAB}/amazon_v2/categoryFiles{'Small' if five_core else ''}"
            meta_site, ending = f"{_LAB}/amazon_v2/metaFiles2", "json"
        else:
            stems = [f"{c}.jsonl"]
            self.ratings = [f"{c}.csv"]
            site = f"{_LAB}/amazon_2023/raw/review_categories"
            meta_site, ending = f"{_LAB}/amazon_2023/raw/meta_categories", "jsonl"
        self.reviews = [stem + gz for stem in stems for gz in ("", ".gz")]
        self.ratings += [f"{name}.gz" for name in self.ratings]
        self.meta = [f"meta_{c}.{ending}{gz}" for gz in ("", ".gz")]
        self.reviews_url = f"{site}/{stems[0]}.gz"
        self.meta_url = f"{meta_site}/{self.meta[1]}"
        self._cache = ("data", f"amazon-{version}")

    def reviews_in(self, folder: Path | None, given: Any, offline: bool, progress: bool) -> Path:
        """The file of the reviews or, without one, of the ratings."""
        return self._file(
            folder, given, [*self.reviews, *self.ratings], self.reviews_url, offline, progress
        )

    def meta_in(self, folder: Path | None, given: Any, offline: bool, progress: bool) -> Path:
        """The file of the items."""
        return self._file(folder, given, self.meta, self.meta_url, offline, progress)

    def _file(
        self,
        folder: Path | None,
        given: Any,
        names: Sequence[str],
        url: str,
        offline: bool,
        progress: bool,
    ) -> Path:
        if given is not None:
            path = Path(given).expanduser()
            if not path.is_file():
                raise missing(self.who, path.parent, [path.name], url)
            return path
        if folder is None:
            return fetch(
                Remote(url), cache_folder(*self._cache), offline=offline, progress=progress
            )
        path_found = found(folder, names)
        if path_found is None:
            do = f"download {url} into it, or leave `path` out to have it downloaded"
            raise missing(self.who, folder, names, url, do)
        return path_found


def _only_category(folder: Path | None, version: int) -> str:
    """The category of the one ``meta_`` file, where the caller names none."""
    ending = "jsonl" if version == 2023 else "json"
    entries = [] if folder is None or not folder.is_dir() else sorted(folder.iterdir())
    names = {
        entry.name.removeprefix("meta_").removesuffix(".gz").removesuffix(f".{ending}")
        for entry in entries
        if entry.name.startswith("meta_") and entry.name.removesuffix(".gz").endswith(f".{ending}")
    }
    if len(names) != 1:
        got = f"{sorted(names)} in {folder}" if folder is not None else "none, and no folder"
        raise DataError(
            explain(
                "load_amazon",
                "a category",
                got,
                "pass category='Beauty' or another of the lab's names",
            )
        )
    return names.pop()


def _events(path: Path, version: int, bad: BadRows, progress: bool) -> pl.DataFrame:
    """user_id, item_id, rating, timestamp (seconds), line."""
    if path.name.removesuffix(".gz").endswith(".csv"):
        events = read_delimited(path, _csv_layout(version), bad, progress=progress)
    else:
        events = _reviews(path, _KEYS[version], bad, progress)
    if version == 2023:
        events = events.with_columns(pl.col("timestamp") / 1000)
    return events


def _csv_layout(version: int) -> Layout:
    """Ratings only: 2014 ``user,item``, 2018 ``item,user`` (both without header), 2023 a header."""
    kinds: tuple[Literal["id", "number"], ...] = ("id", "id", "number", "number")
    places: Mapping[int, Sequence[int | str]] = {
        2014: range(4),
        2018: (1, 0, 2, 3),
        2023: _KEYS[2023],
    }
    fields = [
        Field(name, place, kind)
        for name, place, kind in zip(_NAMES, places[version], kinds, strict=True)
    ]
    return Layout(fields) if version == 2023 else Layout(fields, header=False, width=4)


def _reviews(
    path: Path, keys: tuple[str, str, str, str], bad: BadRows, progress: bool
) -> pl.DataFrame:
    """Reviews, one JSON object a line; ids must be text and numbers numbers."""
    intern: dict[str, str] = {}
    frames: list[pl.DataFrame] = []
    rows: list[tuple[str, str, float, float, int]] = []
    schema = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float64}
    schema |= {"timestamp": pl.Float64, "line": pl.Int64}
    for line, review in read_json_lines(path, bad, progress=progress):
        values: list[Any] = [review.get(key) for key in keys]
        wrong = _wrong(keys, values)
        if wrong is not None:
            key, wanted = wrong
            bad.add(path, line, key, wanted, repr(review[key]) if key in review else "nothing")
            continue
        user, item, rating, time = values
        rows.append(
            (intern.setdefault(user, user), intern.setdefault(item, item), rating, time, line)
        )
        if len(rows) == 500_000:
            frames.append(pl.DataFrame(rows, schema=schema, orient="row"))
            rows = []
    return pl.concat([*frames, pl.DataFrame(rows, schema=schema, orient="row")])


def _wrong(keys: Sequence[str], values: Sequence[Any]) -> tuple[str, str] | None:
    """The first key whose value is no id (of the first two) or no finite number."""
    for key, value in zip(keys[:2], values[:2], strict=True):
        if not isinstance(value, str) or not value or not encodable(value):
            return key, "text that is not empty"
    for key, value in zip(keys[2:], values[2:], strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            return key, "a number"
    return None


def _items(
    path: Path, version: int, met: set[str] | None, bad: BadRows, progress: bool
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The items among ``met`` (None: all), and what to report."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("item_id", "title", "text", "categories", "brand", "price", "also_buy")
    }
    counts = {"items_without_interactions": 0, "unreadable_titles": 0}
    key = "parent_asin" if version == 2023 else "asin"
    parse = {"parse": parse_2014} if version == 2014 else {}
    for line, raw in read_json_lines(path, bad, progress=progress, **parse):
        name = raw.get(key)
        if not isinstance(name, str) or not name or not encodable(name):
            bad.add(path, line, key, "text that is not empty", repr(name))
            continue
        if met is not None and name not in met:
            counts["items_without_interactions"] += 1
            continue
        item, readable = item_of(raw, version)
        counts["unreadable_titles"] += not readable
        columns["item_id"].append(name)
        for field, value in item.items():
            columns[field].append(value)
    schema: dict[str, Any] = dict.fromkeys(columns, pl.String)
    schema |= {
        "categories": pl.List(pl.String),
        "also_buy": pl.List(pl.String),
        "price": pl.Float64,
    }
    return pl.DataFrame(columns, schema=schema), {k: n for k, n in counts.items() if n}
