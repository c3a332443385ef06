import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fusion import Dataset
from fusion.data.tables import load_tables
from fusion.errors import BadRowError, DataError, MissingDataError

EVENTS = {
    "who": ["u1", "u1", "u2"],
    "what": ["007", "7", "007"],
    "stars": [5.0, 1.5, 3.0],
    "when": [100, 200, 50],
}
ITEMS = {
    "what": ["007", "7"],
    "name": ["Bond, James", "Seven"],
    "kind": ["Spy|Action", ""],
    "year": ["1962", "1995"],
}
COLUMNS = {"user_id": "who", "item_id": "what", "rating": "stars", "timestamp": "when"}
ITEM_COLUMNS = {"item_id": "what", "title": "name", "categories": "kind"}


def reference() -> Dataset:
    events = pl.DataFrame(EVENTS).rename({v: k for k, v in COLUMNS.items()})
    items = pl.DataFrame({**ITEMS, "kind": [["Spy", "Action"], []]})
    return Dataset.from_frames(events, items.rename({v: k for k, v in ITEM_COLUMNS.items()}))


def write(folder: Path, ending: str) -> tuple[Path, Path]:
    paths = folder / f"events{ending}", folder / f"items{ending}"
    for path, table in zip(paths, (EVENTS, ITEMS), strict=True):
        frame = pl.DataFrame(table)
        if ending == ".parquet":
            frame.write_parquet(path)
        else:
            text = frame.write_csv(separator="\t" if ".tsv" in ending else ",").encode()
            path.write_bytes(gzip.compress(text) if ending.endswith(".gz") else text)
    return paths


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_every_kind_of_file_gives_the_same(tmp_path: Path, ending: str) -> None:
    events, items = write(tmp_path, ending)
    if ending == ".parquet":
        pl.DataFrame({**ITEMS, "kind": [["Spy", "Action"], []]}).write_parquet(items)
    data = load_tables(
        events,
        items,
        columns=COLUMNS,
        item_columns=ITEM_COLUMNS,
        category_separator="|",
        progress=False,
    )
    assert data.fingerprint == reference().fingerprint
    assert data.catalog.fields["year"] == reference().catalog.fields["year"]
    assert set(data.catalog.ids) == {"007", "7"}  # never one id


def test_our_own_names_need_no_mapping_and_time_and_rating_may_be_absent(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("item_id,x,user_id\n1,9,a\n")
    data = load_tables(tmp_path / "e.csv", progress=False)
    assert (data.users.ids, data.catalog.ids) == (("a",), ("1",))
    assert not data.has_time
    assert not data.has_ratings


def test_the_items_id_may_have_the_interactions_name(tmp_path: Path) -> None:
    events, items = write(tmp_path, ".csv")
    data = load_tables(events, items, columns=COLUMNS, template="{name}.", progress=False)
    assert set(data.catalog.texts) == {"Bond, James.", "Seven."}


@pytest.mark.parametrize(
    ("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_units_of_time(tmp_path: Path, unit: Any, factor: int, ending: str) -> None:
    frame = pl.DataFrame(
        {"user_id": ["a"], "item_id": ["i"], "timestamp": [1_700_000_000 * factor]}
    )
    path = tmp_path / f"e{ending}"
    frame.write_csv(path) if ending == ".csv" else frame.write_parquet(path)
    data = load_tables(path, timestamp_unit=unit, progress=False)
    assert data.interactions.times.tolist() == [1_700_000_000.0]


def test_latin_1_and_another_separator(tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_bytes("user_id;item_id\nJosé;a,b\n".encode("latin-1"))
    data = load_tables(tmp_path / "e.txt", separator=";", encoding="latin-1", progress=False)
    assert (data.users.ids, data.catalog.ids) == (("José",), ("a,b",))


def test_a_bad_row_names_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("user_id,item_id,rating\na,i,3\nb,j,abc\n")
    with pytest.raises(
        BadRowError, match=r"e\.csv, line 3: expected rating as a number, got 'abc'"
    ):
        load_tables(path, progress=False)
    data = load_tables(path, on_bad_rows="skip", progress=False)
    assert (len(data), data.report["bad_rows"]) == (1, 1)


def test_parquet_ids_must_be_text(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [1], "item_id": ["i"]}).write_parquet(tmp_path / "e.parquet")
    with pytest.raises(BadRowError, match=r"e\.parquet, row 0: expected user_id as text, got 1"):
        load_tables(tmp_path / "e.parquet")


def test_bad_rows_of_parquet_are_counted_too(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": ["a", None], "item_id": ["i", "j"]}).write_parquet(
        tmp_path / "e.parquet"
    )
    data = load_tables(tmp_path / "e.parquet", on_bad_rows="skip")
    assert (len(data), data.report["bad_rows"]) == (1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"user_id": "nobody"}}, "a column 'nobody'"),
        ({"columns": {"user": "who"}}, r"got \['user'\]"),
        ({}, "a column 'user_id'"),
        (
            {"columns": COLUMNS, "item_columns": {"item_id": "what", "title": "nothing"}},
            "a column 'nothing'",
        ),
        ({"columns": COLUMNS, "timestamp_unit": "days"}, "timestamp_unit of s, ms, us, ns"),
        ({"columns": COLUMNS, "separator": "::"}, "one character"),
        ({"columns": COLUMNS, "k_core": (1, 2, 3)}, r"\(user, item\)"),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_faults_of_the_call(
    tmp_path: Path, options: dict[str, Any], message: str, ending: str
) -> None:
    events, items = write(tmp_path, ending)
    if "separator" in options and ending == ".parquet":
        return
    with pytest.raises(DataError, match=message):
        load_tables(events, items, progress=False, **options)


def test_files_that_are_absent_of_unknown_kind_or_cut(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"a file .*no\.csv"):
        load_tables(tmp_path / "no.csv")
    (tmp_path / "e.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"a \.csv, \.tsv or \.parquet file"):
        load_tables(tmp_path / "e.xlsx")
    events, _ = write(tmp_path, ".parquet")
    events.write_bytes(events.read_bytes()[:-40])
    with pytest.raises(DataError, match="a whole Parquet file"):
        load_tables(events, columns=COLUMNS)
