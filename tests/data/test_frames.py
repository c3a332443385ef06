import datetime as dt
import random
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion import Dataset
from fusion.errors import BadRowError, DataError

ROWS: dict[str, list[Any]] = {
    "user_id": ["u1", "u1", "u2", "ü 3", 'q"4'],
    "item_id": ["007", "7", "007", "日本", "a,b"],
    "rating": [5.0, 3.0, 4.0, 1.0, 2.0],
    "timestamp": [10, 20, 30, -5, 0],
}
ITEMS: dict[str, list[Any]] = {
    "item_id": ["007", "7", "日本", "a,b", "cold"],
    "title": ["Bond", None, "Tokyo", "Quote", "Cold"],
    "categories": [["Spy", "Action"], [], ["City"], None, ["Ice"]],
    "year": [1962, None, 2003, 1999, 1990],
}
PANDAS = [pd.DataFrame(ROWS), pd.DataFrame(ITEMS)]
ARROW = [pa.table(ROWS), pa.table(ITEMS)]
POLARS = [pl.DataFrame(ROWS), pl.DataFrame(ITEMS)]


def interactions(**changes: list[Any]) -> pl.DataFrame:
    """Two good rows, with columns replaced."""
    rows = {
        "user_id": ["u", "v"],
        "item_id": ["i", "j"],
        "rating": [1.0, 2.0],
        "timestamp": [1.0, 2.0],
    }
    return pl.DataFrame({**rows, **changes}, strict=False)


# --- every kind of frame gives the same data set ------------------------------------------------


def arrow_ids(kind: str) -> pa.Table:
    table = pa.table(ROWS)
    for place, name in enumerate(["user_id", "item_id"]):
        column = table[name].combine_chunks()
        if kind == "dictionary":
            column = column.dictionary_encode()
        else:
            column = column.cast({"large": pa.large_string(), "view": pa.string_view()}[kind])
        table = table.set_column(place, name, column)
    return table


def chunked() -> pa.Table:
    table = pa.table(ROWS)
    return pa.concat_tables([table.slice(0, 2), table.slice(2)])


def categorical() -> pd.DataFrame:
    return pd.DataFrame(ROWS).astype({"user_id": "category", "item_id": "category"})


FRAMES: dict[str, tuple[Any, Any]] = {
    "pandas": (PANDAS[0], PANDAS[1]),
    "pandas object": (PANDAS[0].astype({"user_id": object, "item_id": object}), PANDAS[1]),
    "pandas string": (PANDAS[0].astype({"user_id": "string", "item_id": "string"}), PANDAS[1]),
    "pandas categorical": (categorical(), PANDAS[1]),
    "pandas nullable": (PANDAS[0].astype({"rating": "Float64", "timestamp": "Int64"}), PANDAS[1]),
    "pandas odd index": (PANDAS[0].set_index(np.array([9, 9, 8, 7, 6])), PANDAS[1]),
    "arrow": (ARROW[0], ARROW[1]),
    "arrow dictionary": (arrow_ids("dictionary"), ARROW[1]),
    "arrow large": (arrow_ids("large"), ARROW[1]),
    "arrow view": (arrow_ids("view"), ARROW[1]),
    "arrow chunks": (chunked(), ARROW[1]),
    "polars categorical": (
        POLARS[0].cast({"user_id": pl.Categorical, "item_id": pl.Categorical}),
        POLARS[1],
    ),
    "polars lazy": (POLARS[0].lazy(), POLARS[1].lazy()),
    "mixed": (PANDAS[0], ARROW[1]),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_gives_the_same_fingerprint(kind: str) -> None:
    reference = Dataset.from_frames(*POLARS)
    data = Dataset.from_frames(*FRAMES[kind])
    assert data.fingerprint == reference.fingerprint
    assert data.catalog.titles == reference.catalog.titles
    assert data.catalog.fields["categories"] == reference.catalog.fields["categories"]


def test_ids_stay_as_they_are() -> None:
    data = Dataset.from_frames(*POLARS)
    assert set(data.users.ids) == set(ROWS["user_id"])
    assert set(data.catalog.ids) == set(ITEMS["item_id"])  # "007" and "7" are two items


@pytest.mark.parametrize("frames", [PANDAS, ARROW, POLARS], ids=["pandas", "arrow", "polars"])
def test_datetimes_are_seconds(frames: list[Any]) -> None:
    seconds = Dataset.from_frames(*POLARS)
    when = [dt.datetime(1970, 1, 1) + dt.timedelta(seconds=t) for t in ROWS["timestamp"]]
    build = {pd.DataFrame: pd.DataFrame, pa.Table: pa.table, pl.DataFrame: pl.DataFrame}
    frame = build[type(frames[0])]({**ROWS, "timestamp": when})
    assert Dataset.from_frames(frame, frames[1]).fingerprint == seconds.fingerprint


def test_a_time_zone_is_heeded() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    frame = pd.DataFrame(
        {"user_id": ["u"], "item_id": ["i"], "timestamp": [dt.datetime(1970, 1, 1, 3, tzinfo=zone)]}
    )
    assert Dataset.from_frames(frame).interactions.times.tolist() == [3600.0]


# --- the order of rows decides nothing ----------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)
rows = st.lists(
    st.tuples(texts, texts, st.sampled_from([1.0, 2.0, 5.0]), st.sampled_from([0, 1, 2])),
    min_size=1,
    max_size=30,
)


@given(rows, st.randoms(use_true_random=False), st.sampled_from(["last", "first"]))
def test_the_order_of_the_rows_does_not_change_the_fingerprint(
    events: list[tuple[str, str, float, int]], rng: random.Random, rule: str
) -> None:
    names = ("user_id", "item_id", "rating", "timestamp")
    mixed = rng.sample(events, len(events))
    catalogue = sorted({item for _, item, _, _ in events})
    shuffled = rng.sample(catalogue, len(catalogue))

    def build(of: list[tuple[str, str, float, int]], ids: list[str]) -> Dataset:
        items = pl.DataFrame({"item_id": ids, "title": [f"title of {name}" for name in ids]})
        return Dataset.from_frames(
            pl.DataFrame(of, schema=names, orient="row"), items, duplicates=rule
        )

    one, other = build(events, catalogue), build(mixed, shuffled)
    assert one.fingerprint == other.fingerprint
    assert one.catalog.ids == other.catalog.ids  # an index never depends on the frame's order
    assert len(one) == len({(user, item) for user, item, _, _ in events})
    assert one.report.get("duplicates", 0) == len(events) - len(one)


# --- duplicates ---------------------------------------------------------------------------------

TWICE = {
    "user_id": ["u"] * 4,
    "item_id": ["i"] * 4,
    "timestamp": [5, 9, 9, 1],
    "rating": [2.0, 3.0, 4.0, 1.0],
}


@pytest.mark.parametrize(("rule", "time", "rating"), [("last", 9.0, 4.0), ("first", 1.0, 1.0)])
def test_one_event_of_a_pair_stands(rule: Any, time: float, rating: float) -> None:
    data = Dataset.from_frames(pl.DataFrame(TWICE), duplicates=rule)
    assert data.interactions.times.tolist() == [time]
    assert data.interactions.ratings.tolist() == [rating]
    assert data.report["duplicates"] == 3


def test_first_of_equal_times_is_the_higher_rated() -> None:
    frame = pl.DataFrame({**TWICE, "timestamp": [5, 5, 5, 9]})
    assert Dataset.from_frames(frame, duplicates="first").interactions.ratings.tolist() == [4.0]


def test_duplicates_may_be_an_error_that_names_the_row() -> None:
    frame = pl.DataFrame({"user_id": ["", "u", "u"], "item_id": ["i", "i", "i"]})
    with pytest.raises(BadRowError, match="row 2: expected each") as caught:
        Dataset.from_frames(frame, duplicates="error", on_bad_rows="skip")
    assert (caught.value.line, caught.value.field) == (2, "item_id")


def test_the_first_row_of_a_repeated_item_stands() -> None:
    items = pl.DataFrame({"item_id": ["i", "i", "j"], "title": ["One", "Two", "Three"]})
    data = Dataset.from_frames(interactions(), items)
    assert dict(zip(data.catalog.ids, data.catalog.titles, strict=True)) == {
        "i": "One",
        "j": "Three",
    }
    assert data.report["duplicate_items"] == 1


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_id": ["u", ""]}, "user_id"),
        ({"user_id": ["u", None]}, "user_id"),
        ({"item_id": ["i", ""]}, "item_id"),
        ({"rating": [1.0, float("nan")]}, "rating"),
        ({"rating": [1.0, float("inf")]}, "rating"),
        ({"rating": [1.0, None]}, "rating"),
        ({"rating": [None, None]}, "rating"),
        ({"timestamp": [1.0, float("nan")]}, "timestamp"),
        ({"timestamp": [1.0, float("-inf")]}, "timestamp"),
    ],
)
def test_a_bad_row_is_named_or_counted(changes: dict[str, list[Any]], field: str) -> None:
    frame = interactions(**changes)
    bad = [row for row in range(2) if changes[field][row] not in ("u", "i", 1.0)]
    with pytest.raises(
        BadRowError, match=f"interactions, row {bad[0]}: expected {field}"
    ) as caught:
        Dataset.from_frames(frame)
    assert (caught.value.line, caught.value.field) == (bad[0], field)
    if len(bad) == 2:
        with pytest.raises(DataError, match="at least one usable"):
            Dataset.from_frames(frame, on_bad_rows="skip")
        return
    data = Dataset.from_frames(frame, on_bad_rows="skip")
    assert (len(data), data.users.ids, data.report["bad_rows"]) == (1, ("u",), 1)


@pytest.mark.parametrize("time", [-1.0, -1e9, 0.25, 1e10])
def test_negative_and_fractional_timestamps_stand(time: float) -> None:
    data = Dataset.from_frames(interactions(timestamp=[time, 0.0]))
    assert data.interactions.times[data.interactions.users == data.users.index("u")] == [time]


def test_nanoseconds_are_refused() -> None:
    with pytest.raises(DataError, match="perhaps nanoseconds"):
        Dataset.from_frames(interactions(timestamp=[1, 1_700_000_000_000_000_000]))


@pytest.mark.parametrize(
    "ids",
    [
        pl.Series([1, 2]),
        pl.Series([1.0, 2.0]),
        pl.Series([b"a", b"b"]),
        pl.Series([dt.date(2020, 1, 1), None]),
    ],
)
def test_ids_that_are_not_text_are_refused(ids: pl.Series) -> None:
    with pytest.raises(
        BadRowError, match=r"row 0: expected item_id as text.*cast the column to text"
    ):
        Dataset.from_frames(interactions().with_columns(item_id=ids))


@pytest.mark.parametrize(
    "ids", [pd.Series([7, 8], dtype="category"), pd.Series(["7", 8], dtype=object)]
)
def test_numbers_inside_a_pandas_column_are_refused_too(ids: Any) -> None:
    frame = pd.DataFrame({"user_id": ["u", "v"], "item_id": ids})
    with pytest.raises(BadRowError, match=r"8|7"):
        Dataset.from_frames(frame)


def test_text_that_utf8_cannot_hold_is_refused() -> None:
    frame = pd.DataFrame(
        {"user_id": pd.Series(["u", "\ud800"], dtype=object), "item_id": ["i", "j"]}
    )
    with pytest.raises(BadRowError, match="row 1: expected user_id as text"):
        Dataset.from_frames(frame)


@pytest.mark.parametrize("name", ["user_id", "item_id"])
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(DataError, match=f"a column '{name}', got columns"):
        Dataset.from_frames(interactions().drop(name))


def test_items_need_an_item_id() -> None:
    with pytest.raises(DataError, match="items: expected a column 'item_id'"):
        Dataset.from_frames(interactions(), pl.DataFrame({"title": ["x"]}))


@pytest.mark.parametrize("column", ["rating", "timestamp"])
def test_numbers_written_as_text_are_refused(column: str) -> None:
    with pytest.raises(DataError, match=f"{column} as numbers, got String"):
        Dataset.from_frames(interactions(**{column: ["1", "2"]}))


@pytest.mark.parametrize("frame", [[1, 2], {"user_id": ["u"]}, None, "file.csv"])
def test_what_is_no_frame_is_refused(frame: Any) -> None:
    with pytest.raises(DataError, match="a pandas, polars or pyarrow table"):
        Dataset.from_frames(frame)


@pytest.mark.parametrize("empty", [POLARS[0].clear(), ARROW[0].slice(0, 0), PANDAS[0].iloc[:0]])
def test_an_empty_frame_is_an_error(empty: Any) -> None:
    with pytest.raises(DataError, match="at least one usable interaction, got none in 0 rows"):
        Dataset.from_frames(empty, POLARS[1])


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(DataError, match="duplicates"):
        Dataset.from_frames(interactions(), duplicates="newest")
    with pytest.raises(DataError, match="on_bad_rows"):
        Dataset.from_frames(interactions(), on_bad_rows="ignore")


def test_one_user_one_item_one_event() -> None:
    data = Dataset.from_frames(pl.DataFrame({"user_id": ["u"], "item_id": ["i"]}))
    assert (data.n_users, data.n_items, len(data)) == (1, 1, 1)
    assert not data.has_time
    assert not data.has_ratings


def test_no_items_but_those_met() -> None:
    data = Dataset.from_frames(interactions(), POLARS[1].clear())
    assert data.report["items_without_row"] == 2
    assert data.catalog.texts == ("", "")
    assert set(data.catalog.titles) == {"i", "j"}


def test_an_item_without_text_has_an_empty_text_and_its_id_as_title() -> None:
    data = Dataset.from_frames(*POLARS)
    place = data.catalog.vocabulary.index("7")
    assert data.catalog.texts[place] == ""
    assert data.catalog.titles[place] == "7"


@pytest.mark.parametrize(
    "nothing", [pa.nulls(2), pl.Series([None, None]), pl.Series([None, None], dtype=pl.String)]
)
def test_all_null_columns_of_items_are_empty_fields(nothing: Any) -> None:
    items = pa.table({"item_id": ["i", "j"], "title": ["A", "B"], "text": nothing})
    data = Dataset.from_frames(interactions(), items)
    assert set(data.catalog.texts) == {"A.", "B."}
    assert data.catalog.fields["text"] == (None, None)


def test_pandas_missing_values_are_none() -> None:
    items = pd.DataFrame(
        {
            "item_id": ["i", "j"],
            "title": pd.Series(["A", pd.NA], dtype="string"),
            "year": pd.Series([pd.NA, 1999], dtype="Int64"),
            "seen": [pd.NaT, pd.Timestamp("2020-01-01")],
        }
    )
    data = Dataset.from_frames(interactions(), items, template="{title}. {year}. {seen}")
    place = data.catalog.vocabulary.index
    assert data.catalog.texts[place("i")] == "A."
    assert data.catalog.texts[place("j")] == "1999. 2020-01-01 00:00:00"


def test_an_item_row_without_id() -> None:
    items = pl.DataFrame({"item_id": ["i", None, "j", ""], "title": ["A", "?", "B", "?"]})
    with pytest.raises(BadRowError, match="items, row 1"):
        Dataset.from_frames(interactions(), items)
    data = Dataset.from_frames(interactions(), items, on_bad_rows="skip")
    assert set(data.catalog.titles) == {"A", "B"}
    assert data.report["bad_item_rows"] == 2


# --- ratings as implicit feedback ---------------------------------------------------------------


def test_min_rating_keeps_and_counts() -> None:
    data = Dataset.from_frames(*POLARS, min_rating=3)
    assert sorted(data.interactions.ratings.tolist()) == [3.0, 4.0, 5.0]
    assert data.report["below_min_rating"] == 2
    assert data.users.ids == ("u1", "u2")  # users without an event left are none
    assert data.n_items == 5  # the catalogue stays


def test_min_rating_needs_ratings_and_something_above() -> None:
    with pytest.raises(DataError, match="a rating column"):
        Dataset.from_frames(interactions().drop("rating"), min_rating=3)
    with pytest.raises(DataError, match="'below_min_rating': 2"):
        Dataset.from_frames(interactions(), min_rating=9)
