import csv
import gzip
import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.data import delimited
from fusion.data.delimited import Layout, read_delimited
from fusion.data.rows import BadRows, Field
from fusion.errors import BadRowError, DataError

FIELDS = [Field("user_id", "u", "id"), Field("rating", "r", "number"), Field("title", "t")]
CSV = Layout(FIELDS)
PLAIN = Layout(
    [Field(f.name, i, f.kind) for i, f in enumerate(FIELDS)],
    "::",
    header=False,
    width=3,
    quoted=False,
)


def read(
    tmp_path: Path, content: str | bytes, layout: Layout = CSV, rule: Any = "error"
) -> tuple[pl.DataFrame, BadRows]:
    path = tmp_path / "ratings.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    bad = BadRows(rule)
    return read_delimited(path, layout, bad, progress=False), bad


def rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.rows()


GOOD = [("007", 4.5, "Heat", 2), ("b", 1.0, "", 3)]


@pytest.mark.parametrize(
    "content",
    [
        "u,r,t\n007,4.5,Heat\nb,1,\n",
        "u,r,t\r\n007,4.5,Heat\r\nb,1,\r\n",
        "u,r,t\n007,4.5,Heat\nb,1,",  # no line end at the end
        "\ufeffu,r,t\n007,4.5,Heat\nb,1,\n\n\n",
        'u,r,t\n007,4.5,"Heat"\n"b",1,\n',
        '"u","r","t"\n007,"4.5",Heat\nb,1,\n',
    ],
)
def test_ways_to_write_the_same(tmp_path: Path, content: str) -> None:
    frame, bad = read(tmp_path, content)
    assert rows(frame) == GOOD
    assert bad.count == 0
    assert frame.schema["rating"] == pl.Float64


def test_gzip_is_told_by_its_bytes(tmp_path: Path) -> None:
    frame, _ = read(tmp_path, gzip.compress(b"u,r,t\n007,4.5,Heat\nb,1,\n"))
    assert rows(frame) == GOOD


def test_columns_in_another_order_and_others_are_ignored(tmp_path: Path) -> None:
    frame, _ = read(tmp_path, "x,t,u,r\n9,Heat,007,4.5\n")
    assert rows(frame) == [("007", 4.5, "Heat", 2)]


def test_other_columns_may_be_kept(tmp_path: Path) -> None:
    frame, _ = read(tmp_path, "x,t,u,r\n9,Heat,007,4.5\n", Layout(FIELDS, others=True))
    assert frame.columns == ["user_id", "rating", "title", "x", "line"]
    assert frame["x"].to_list() == ["9"]


def test_quoted_fields_hold_anything(tmp_path: Path) -> None:
    frame, _ = read(tmp_path, 'u,r,t\n"a,b",3,"say ""hi""\nthere"\nc,1,5\'11" tall\n')
    # the second record starts on line 4: the first one spans two lines
    assert rows(frame) == [("a,b", 3.0, 'say "hi"\nthere', 2), ("c", 1.0, "5'11\" tall", 4)]


def test_a_title_may_hold_the_separator(tmp_path: Path) -> None:
    layout = Layout(
        [Field("item_id", 0, "id"), Field("title", 1), Field("genres", 2)],
        "::",
        header=False,
        width=3,
        quoted=False,
        spill=1,
    )
    frame, _ = read(tmp_path, "1::A::B (1999)::Drama\n2::C::War\n", layout)
    assert rows(frame) == [("1", "A::B (1999)", "Drama", 1), ("2", "C", "War", 2)]


FAULTS = [
    ("abc", "rating", "rating as a number, got 'abc'", "x,abc,t"),
    ("empty number", "rating", "rating as a number, got ''", "x,,t"),
    ("nan", "rating", "got 'nan'", "x,nan,t"),
    ("inf", "rating", "got '-inf'", "x,-inf,t"),
    ("space", "rating", "got ' 3'", "x, 3,t"),
    ("empty id", "user_id", "user_id as text that is not empty, got ''", ",3,t"),
    ("too few", "", "3 fields, got 2: 'x,3'", "x,3"),
    ("too many", "", "3 fields, got 4", "x,3,t,z"),
    ("open quote", "", "3 fields, got", 'x,3,"t'),
    ("text after a quote", "", "3 fields, got", '"x"y,3,t'),
]


@pytest.mark.parametrize(
    ("field", "message", "line"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
@pytest.mark.parametrize("quotes", [False, True], ids=["fast", "exact"])
def test_a_fault_is_named_or_counted(
    tmp_path: Path, field: str, message: str, line: str, quotes: bool
) -> None:
    last = '"z",2,"q"' if quotes else "z,2,q"
    content = f"u,r,t\na,1,b\n{line}\n{last}\n"
    with pytest.raises(BadRowError) as caught:
        read(tmp_path, content)
    assert "ratings.csv, line 3: expected" in str(caught.value)
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.field) == (3, field)
    assert caught.value.source.endswith("ratings.csv")
    frame, bad = read(tmp_path, content, rule="skip")
    assert rows(frame) == [("a", 1.0, "b", 2), ("z", 2.0, "q", 4)]
    assert bad.count == 1


def test_the_first_fault_is_the_one_named(tmp_path: Path) -> None:
    with pytest.raises(BadRowError, match=r"line 2: expected rating"):
        read(tmp_path, 'u,r,t\na,x,b\nb,1\n"c"d,1,t\n')


@pytest.mark.parametrize("layout", [CSV, PLAIN], ids=["csv", "plain"])
def test_another_encoding(tmp_path: Path, layout: Layout) -> None:
    sep = layout.separator.encode()
    head = b"u,r,t\n" if layout.header else b""
    content = (
        head + sep.join([b"a", b"1", b"Am\xe9lie"]) + b"\n" + sep.join([b"b", b"2", b"ok"]) + b"\n"
    )
    first = 2 if layout.header else 1
    with pytest.raises(BadRowError, match=f"line {first}: expected utf-8 text"):
        read(tmp_path, content, layout)
    frame, bad = read(tmp_path, content, layout, "skip")
    assert (rows(frame), bad.count) == ([("b", 2.0, "ok", first + 1)], 1)
    latin = Layout(
        layout.fields, layout.separator, layout.header, layout.width, "latin-1", layout.quoted
    )
    frame, _ = read(tmp_path, content, latin)
    assert frame["title"].to_list() == ["Amélie", "ok"]


def test_a_truncated_gzip_is_an_error_even_when_bad_rows_are_skipped(tmp_path: Path) -> None:
    body = "".join(f"user{n},{n % 5},title {n * 7919 % 1000}\n" for n in range(3000))
    packed = gzip.compress(f"u,r,t\n{body}".encode())
    for rule in ("error", "skip"):
        with pytest.raises(BadRowError, match="the whole of a gzip file"):
            read(tmp_path, packed[: len(packed) // 2], rule=rule)


def test_a_missing_or_repeated_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one column 'r', got columns \['u', 't'\]"):
        read(tmp_path, "u,t\na,b\n")
    with pytest.raises(DataError, match="one column 'r'"):
        read(tmp_path, "u,r,r,t\na,1,2,b\n")
    with pytest.raises(DataError, match=r"columns \[\]"):
        read(tmp_path, "")


def test_no_rows(tmp_path: Path) -> None:
    frame, _ = read(tmp_path, "u,r,t\n")
    assert frame.schema == {
        "user_id": pl.String,
        "rating": pl.Float64,
        "title": pl.String,
        "line": pl.Int64,
    }
    assert frame.is_empty()


def test_an_unknown_rule() -> None:
    with pytest.raises(DataError, match="on_bad_rows"):
        BadRows("ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize("last", ["zz,2,q", '"zz",2,q', "zz,bad,q", "zz,2"])
def test_lines_are_counted_over_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK", 16)
    lines = [f"user{n},1,t" for n in range(20)]
    content = "\n".join(["u,r,t", *lines, last, "end,1,t"])
    frame, bad = read(tmp_path, content, rule="skip")
    good = last.strip().count(",") == 2 and "bad" not in last
    assert frame["line"].to_list() == [*range(2, 22), *([22] if good else []), 23]
    assert bad.count == (0 if good else 1)


cells = st.text(st.sampled_from('ab1.,:"\n\r é'), max_size=4)
tables = st.lists(st.lists(cells, min_size=2, max_size=4), max_size=8)


@given(tables, st.integers(8, 64))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_csv_writes_is_read_back(
    tmp_path: Path, table: list[list[str]], block: int
) -> None:
    """Records of the right width come back as written; every other is counted, by whole lines."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["u", "r", "t"])
    kept = [(f"u{n}", str(n), "".join(row)) for n, row in enumerate(table)]
    writer.writerows(kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "_BLOCK", block)
        frame, bad = read(tmp_path, out.getvalue())
    assert [row[:3] for row in rows(frame)] == [(u, float(r), t) for u, r, t in kept]
    assert bad.count == 0


@given(tables, st.integers(1, 40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_fast_way_and_the_exact_way_agree(
    tmp_path: Path, table: list[list[str]], block: int
) -> None:
    """Lines without quotes, of any width: the same rows and as many faults both ways."""
    lines = [",".join(c.translate({34: "", 10: "", 13: "", 44: ""}) for c in row) for row in table]
    content = "\n".join(["u,r,t", *lines])
    got = []
    for fast in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delimited, "_BLOCK", block)
            if not fast:
                patch.setattr(delimited, "_split", lambda *_: None)
            frame, bad = read(tmp_path, content, rule="skip")
        got.append((rows(frame), bad.count))
    assert got[0] == got[1]
    assert len(got[0][0]) + got[0][1] == sum(line != "" for line in lines)
