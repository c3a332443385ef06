"""The table: what is compared with what, and that it says so."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import rich.console

from fusion.errors import DataError, FingerprintError
from fusion.evaluation.significance import holm, paired_difference
from fusion.evaluation.table import Table


@pytest.fixture(scope="module")
def results(make_result):
    return [
        make_result("learned", 0.8, "fusion", place=0, p50=20.5),
        make_result("ease", 0.5, p50=None),
        make_result("pop|ular", 0.1),
        make_result("serial", 0.55, "fusion"),
    ]


@pytest.fixture(scope="module")
def table(results) -> Table:
    return Table(results)


def test_models_come_first_in_the_order_given(table: Table) -> None:
    assert [row.name for row in table.rows] == ["ease", "pop|ular", "learned", "serial"]
    assert [row.best for row in table.rows] == [True, False, False, False]
    assert table.best == "ease"


def test_differences_are_against_the_best_single_model(table: Table, results) -> None:
    learned, ease, _, serial = results
    expected = [
        paired_difference(one.per_query["NDCG@10"], ease.per_query["NDCG@10"], one.users)
        for one in (learned, serial)
    ]
    by_name = {row.name: row for row in table.rows}
    assert by_name["learned"].difference == expected[0]
    assert by_name["serial"].difference == expected[1]
    corrected = holm([one.p for one in expected])
    assert [by_name["learned"].p_holm, by_name["serial"].p_holm] == corrected
    assert corrected[0] < 0.001 < 0.05 < corrected[1]
    assert by_name["ease"].difference is None
    assert by_name["ease"].p_holm is None
    means = learned.per_query["NDCG@10"].mean() - ease.per_query["NDCG@10"].mean()
    assert expected[0].mean == pytest.approx(means)


def test_markdown(table: Table, results) -> None:
    lines = table.markdown().splitlines()
    assert lines[0] == "|  | NDCG@10 | HR@10 | coverage | p50 ms | Δ [95 %] | p |"
    ease = results[1].per_query
    assert lines[2] == (
        f"| ease † | {ease['NDCG@10'].mean():.4f} | {ease['HR@10'].mean():.4f} "
        f"| 1.000 | – | – | – |"
    )
    assert lines[3].startswith("| pop\\|ular | ")
    assert f"| **{results[0].per_query['NDCG@10'].mean():.4f}** |" in lines[4]
    assert lines[4].endswith("| < 0.001 |")
    assert "| 20.5 | +0." in lines[4]
    text = table.markdown()
    assert "120 queries of 40 users; leave_last_out(events=3, min_history=1)" in text
    assert "winner's curse" in text
    assert "Holm-corrected" in text


def test_rich_shows_the_same_cells(table: Table) -> None:
    out = io.StringIO()
    rich.console.Console(file=out, width=140).print(table.rich())
    shown = out.getvalue()
    for row in table.rows:
        for cell in table.cells(row):
            assert all(part in shown for part in cell.split(" [")), cell


def test_rich_breaks_no_number_in_80_columns(table: Table) -> None:
    out = io.StringIO()
    rich.console.Console(file=out, width=80).print(table.rich())
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    for row in table.rows:
        for cell in table.cells(row)[1:]:
            assert all(part in shown for part in cell.split(" [")), cell


def test_json(table: Table) -> None:
    value = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert value["best_single"] == "ease"
    assert [row["name"] for row in value["rows"]] == ["ease", "pop|ular", "learned", "serial"]
    assert value["rows"][2]["difference"]["clusters"] == 40
    assert value["rows"][0]["primary"]["p"] is None  # NaN
    assert value["rows"][0]["fingerprint"]["config"] == "ease"


def test_mixed_protocols_are_refused(results) -> None:
    odd = replace(results[1], fingerprint=replace(results[1].fingerprint, seen="included"))
    with pytest.raises(FingerprintError, match="whether seen items are excluded"):
        Table([results[0], odd])


def test_only_models_or_only_fusions(results) -> None:
    models = Table(results[1:3])
    assert all(row.difference is None for row in models.rows)
    assert len(models.notes) == 1
    fusions = Table([results[0]])
    assert fusions.best is None
    assert fusions.rows[0].difference is None
    assert "–" in fusions.markdown()


def test_equal_models_the_first_is_best(results) -> None:
    twin = replace(results[1], name="twin")
    assert Table([twin, results[1]]).best == "twin"
    assert Table([results[1], twin]).best == "ease"


def test_another_primary_metric(results) -> None:
    table = Table(results, primary="MRR@10", metrics=("HR@10",))
    assert table.metrics == ("MRR@10", "HR@10")
    assert table.rows[0].primary.mean == pytest.approx(results[1].per_query["MRR@10"].mean())


def test_bad_tables(results) -> None:
    with pytest.raises(DataError, match="results of different names"):
        Table([])
    with pytest.raises(DataError, match="results of different names"):
        Table([results[0], results[0]])
    bare = replace(results[0], per_query={"HR@10": np.zeros(120)})
    with pytest.raises(DataError, match=r"no \['NDCG@10'\]"):
        Table([results[1], bare])
