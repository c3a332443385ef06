"""The plot: a readable file of the right kind, or a clear error."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from fusion.errors import DataError, DependencyError
from fusion.evaluation.plot import save_plot
from fusion.evaluation.table import Table


@pytest.fixture(scope="module")
def table(make_result) -> Table:
    return Table([make_result("ease", 0.5), make_result("learned", 0.7, "fusion")])


def test_png(table: Table, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="the demo extra is not installed")
    path = save_plot(table, tmp_path / "table.png", title="MovieLens")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


def test_svg_keeps_its_words(table: Table, tmp_path) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="the demo extra is not installed")
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = save_plot(table, tmp_path / "table.svg", title="A & B").read_text("utf-8")
    for word in ("ease  (best single)", "learned", "NDCG@10, mean and 95% interval", "A &amp; B"):
        assert word in text
    for row in table.rows:
        assert f"{row.primary.mean:.3f}" in text


def test_one_user_has_no_interval_but_a_dot(make_result, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="the demo extra is not installed")
    one = make_result("ease", 0.5)
    lonely = replace(one, users=one.users * 0)
    assert save_plot(Table([lonely]), tmp_path / "one.png").exists()


def test_another_suffix_is_refused(table: Table, tmp_path) -> None:
    with pytest.raises(DataError, match=r"\.png or \.svg"):
        save_plot(table, tmp_path / "table.bmp")


def test_without_matplotlib(table: Table, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match=r"recfusion\[demo\]"):
        save_plot(table, tmp_path / "table.png")
