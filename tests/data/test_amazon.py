import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fusion import Dataset
from fusion.data import amazon
from fusion.data.amazon import load_amazon
from fusion.data.download import Remote
from fusion.errors import BadRowError, DataError, MissingDataError

EVENTS = [("A1", "B01", 5.0, 100), ("A1", "B02", 2.0, 200), ("A2", "B01", 4.0, 50)]


def review(version: int, user: str, item: str, rating: float, time: int) -> dict[str, Any]:
    if version == 2023:
        return {
            "rating": rating, "title": "t", "text": "x", "asin": f"variant-of-{item}",
            "parent_asin": item, "user_id": user, "timestamp": time * 1000,
        }  # fmt: skip
    return {"reviewerID": user, "asin": item, "overall": rating, "unixReviewTime": time}


def reviews(version: int) -> str:
    return "".join(json.dumps(review(version, *event)) + "\n" for event in EVENTS)


META_2014 = """{'asin': 'B01', 'title': "Ann's \\d Cream", \
'categories': [['Beauty', 'Skin'], ['Beauty']], \
'description': 'Soft &amp; <b>good</b>.', 'price': 9.5, 'brand': 'Ann', \
'salesRank': {'Beauty': 7}, 'related': {'also_bought': ['B02', 'B99']}}
{'asin': 'B99', 'title': 'Never reviewed'}
"""
META_2018 = [
    {"asin": "B01", "title": "Ann&#39;s \\d Cream", "category": ["Beauty", "Skin"], "brand": "Ann",
     "description": ["Soft &amp;", "<b>good</b>."], "price": "$9.50", "also_buy": ["B02", "B99"],
     "rank": "7"},
    {"asin": "B02", "title": "var t = new Date().getTime(", "price": "$1 - $3"},
    {"asin": "B99", "title": "Never reviewed"},
]  # fmt: skip
META_2023 = [
    {"parent_asin": "B01", "title": "Ann's \\d Cream", "categories": ["Beauty", "Skin"],
     "store": "Ann", "description": ["Soft &", "good."], "price": 9.5, "average_rating": 4.9,
     "rating_number": 1000, "bought_together": ["B02", "B99"]},
    {"parent_asin": "B99", "title": "Never reviewed"},
]  # fmt: skip


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FILES: dict[int, dict[str, str]] = {
    2014: {"reviews_Beauty_5.json": reviews(2014), "meta_Beauty.json": META_2014},
    2018: {"Beauty_5.json": reviews(2018), "meta_Beauty.json": lines(META_2018)},
    2023: {"Beauty.jsonl": reviews(2023), "meta_Beauty.jsonl": lines(META_2023)},
}


def write(folder: Path, version: int, packed: bool = False) -> None:
    for name, text in FILES[version].items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text, "utf-8")


def events(data: Dataset) -> list[tuple[str, str, float, float]]:
    e = data.interactions
    return [
        (data.users.ids[u], data.catalog.ids[i], r, t)
        for u, i, r, t in zip(e.users, e.items, e.ratings, e.times, strict=True)
    ]


@pytest.mark.parametrize("version", FILES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_version_gives_the_same_fields(tmp_path: Path, version: Any, packed: bool) -> None:
    write(tmp_path, version, packed)
    data = load_amazon(tmp_path, version=version, category="Beauty", progress=False)
    assert events(data) == EVENTS
    place = data.catalog.vocabulary.index("B01")
    fields = {name: values[place] for name, values in data.catalog.fields.items()}
    assert fields == {
        "title": "Ann's \\d Cream",
        "text": "Soft & good ." if version != 2023 else "Soft & good.",
        "categories": ["Beauty", "Skin"],
        "brand": "Ann",
        "price": 9.5,
        "also_buy": ["B02", "B99"],
    }
    assert data.report["items_without_interactions"] == 1
    assert set(data.catalog.ids) == {"B01", "B02"}


def test_a_title_of_script_is_left_empty_and_counted(tmp_path: Path) -> None:
    write(tmp_path, 2018)
    data = load_amazon(tmp_path, version=2018, progress=False)  # the one category is found
    place = data.catalog.vocabulary.index("B02")
    assert data.report["unreadable_titles"] == 1
    assert data.catalog.texts[place] == ""
    assert data.catalog.fields["price"][place] is None


def test_all_items_and_no_items(tmp_path: Path) -> None:
    write(tmp_path, 2014)
    every = load_amazon(tmp_path, version=2014, all_items=True, progress=False)
    assert set(every.catalog.ids) == {"B01", "B02", "B99"}
    none = load_amazon(tmp_path, version=2014, with_items=False, progress=False)
    assert none.catalog.texts == ("", "")


def test_files_named_one_by_one(tmp_path: Path) -> None:
    write(tmp_path, 2018)
    (tmp_path / "Beauty_5.json").rename(tmp_path / "mine.json")
    data = load_amazon(
        version=2018,
        reviews=tmp_path / "mine.json",
        meta=tmp_path / "meta_Beauty.json",
        progress=False,
    )
    assert len(data) == 3


RATINGS = {
    2014: ("ratings_Beauty.csv", "A1,B01,5.0,100\nA1,B02,2.0,200\nA2,B01,4.0,50\n"),
    2018: ("Beauty.csv", "B01,A1,5.0,100\nB02,A1,2.0,200\nB01,A2,4.0,50\n"),
    2023: (
        "Beauty.csv",
        "user_id,parent_asin,rating,timestamp\nA1,B01,5.0,100000\nA1,B02,2.0,200000\nA2,B01,4.0,50000\n",
    ),
}


@pytest.mark.parametrize("version", RATINGS)
def test_ratings_only(tmp_path: Path, version: Any) -> None:
    name, text = RATINGS[version]
    (tmp_path / name).write_text(text)
    data = load_amazon(
        tmp_path, version=version, category="Beauty", with_items=False, progress=False
    )
    assert events(data) == EVENTS


BAD = [
    ('{"reviewerID": "A9", "asin": "B01", "overall": 5.0, "unixRev', "", "one JSON object"),
    ('{"asin": "B01", "overall": 5.0, "unixReviewTime": 1}', "reviewerID", "got nothing"),
    (
        '{"reviewerID": "", "asin": "B01", "overall": 5, "unixReviewTime": 1}',
        "reviewerID",
        "got ''",
    ),
    ('{"reviewerID": "A", "asin": 7, "overall": 5, "unixReviewTime": 1}', "asin", "got 7"),
    ('{"reviewerID": "A", "asin": "\\ud800", "overall": 5, "unixReviewTime": 1}', "asin", "got '"),
    ('{"reviewerID": "A", "asin": "B", "overall": "5", "unixReviewTime": 1}', "overall", "got '5'"),
    ('{"reviewerID": "A", "asin": "B", "overall": NaN, "unixReviewTime": 1}', "overall", "got nan"),
    (
        '{"reviewerID": "A", "asin": "B", "overall": true, "unixReviewTime": 1}',
        "overall",
        "got True",
    ),
    (
        '{"reviewerID": "A", "asin": "B", "overall": 5, "unixReviewTime": null}',
        "unixReviewTime",
        "None",
    ),
]


@pytest.mark.parametrize(("line", "field", "message"), BAD)
def test_a_bad_review_is_named_or_counted(
    tmp_path: Path, line: str, field: str, message: str
) -> None:
    write(tmp_path, 2018)
    path = tmp_path / "Beauty_5.json"
    path.write_text(reviews(2018) + line + "\n")
    with pytest.raises(BadRowError, match=r"Beauty_5\.json, line 4: expected") as caught:
        load_amazon(tmp_path, version=2018, progress=False)
    assert (caught.value.line, caught.value.field) == (4, field)
    assert message in str(caught.value)
    data = load_amazon(tmp_path, version=2018, on_bad_rows="skip", progress=False)
    assert data.report["bad_rows"] == 1
    assert len(data) == 3


@pytest.mark.parametrize(
    "line", ["{'asin': 'B02', 'title': 'cut o", "{'title': 'no id'}", "__import__('os').getcwd()"]
)
def test_a_bad_item_is_named_or_counted(tmp_path: Path, line: str) -> None:
    write(tmp_path, 2014)
    (tmp_path / "meta_Beauty.json").write_text(META_2014 + line + "\n")
    with pytest.raises(BadRowError, match=r"meta_Beauty\.json, line 3: expected"):
        load_amazon(tmp_path, version=2014, progress=False)
    data = load_amazon(tmp_path, version=2014, on_bad_rows="skip", progress=False)
    assert data.report["bad_item_rows"] == 1


def test_a_parquet_folder(tmp_path: Path) -> None:
    names = ("user_id", "item_id", "rating", "timestamp")
    pl.DataFrame(EVENTS, schema=names, orient="row").write_parquet(
        tmp_path / "interactions.parquet"
    )
    pl.DataFrame({"item_id": ["B01"], "title": ["Cream"]}).write_parquet(tmp_path / "items.parquet")
    data = load_amazon(tmp_path, version=2014)
    assert events(data) == EVENTS
    assert "Cream" in data.catalog.titles


def test_what_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="a category, got none"):
        load_amazon(version=2018)
    with pytest.raises(DataError, match=r"a category, got \[\]"):
        load_amazon(tmp_path, version=2018)
    with pytest.raises(DataError, match="version 2014, 2018 or 2023, got 2013"):
        load_amazon(tmp_path, version=2013)  # type: ignore[arg-type]
    with pytest.raises(MissingDataError) as caught:
        load_amazon(tmp_path, version=2014, category="Beauty")
    for part in ("reviews_Beauty_5.json", str(tmp_path), "/categoryFiles/reviews_Beauty_5.json.gz"):
        assert part in str(caught.value)
    (tmp_path / "reviews_Beauty_5.json").write_text(reviews(2014))
    with pytest.raises(MissingDataError, match=r"meta_Beauty\.json"):
        load_amazon(tmp_path, version=2014, category="Beauty", progress=False)
    with pytest.raises(MissingDataError, match=r"expected no\.json in"):
        load_amazon(version=2014, reviews=tmp_path / "no.json")
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path))
    with pytest.raises(MissingDataError, match=r"Beauty\.jsonl\.gz in .*download https://"):
        load_amazon(version=2023, category="Beauty", offline=True)


def test_downloaded_from_the_publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download itself is tested in test_download; here, which files are asked for."""
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path))
    calls: list[str] = []

    def fetched(remote: Remote, folder: Path, **_: Any) -> Path:
        calls.append(remote.url)
        (folder / remote.name).write_bytes(gzip.compress(FILES[2018][remote.name[:-3]].encode()))
        return folder / remote.name

    monkeypatch.setattr(amazon, "fetch", fetched)
    assert len(load_amazon(version=2018, category="Beauty", progress=False)) == 3
    assert [url.rsplit("/", 2)[1:] for url in calls] == [
        ["categoryFilesSmall", "Beauty_5.json.gz"], ["metaFiles2", "meta_Beauty.json.gz"],
    ]  # fmt: skip


@pytest.mark.shared
def test_the_real_files(shared_data: Path) -> None:
    gifts = load_amazon(shared_data / "amazon-2018-gift-cards", version=2018, progress=False)
    assert (gifts.n_users, gifts.n_items) == (458, 148)
    assert len(gifts) + gifts.report["duplicates"] == 2972
    assert set(gifts.report) == {"duplicates", "items_without_interactions"}
    beauty = load_amazon(shared_data / "amazon-2014-beauty", version=2014, progress=False)
    assert (beauty.n_users, beauty.n_items, len(beauty)) == (22_332, 12_086, 198_215)
