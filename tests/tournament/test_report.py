from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from ruamel.yaml import YAML
from synthetic import engine_config, rules, window

from fusion.tournament.complementarity import complementarity_of
from fusion.tournament.figures import pictures
from fusion.tournament.outcome import Curve, Recommended, TournamentResult
from fusion.tournament.play import play
from fusion.tournament.report import render_report
from fusion.tournament.tables import listings
from fusion.tournament.writing import recommended_yaml

EVIL = '<script>alert("$x$")</script>'
VOID = {"meta", "img", "br", "link"}


class Strict(HTMLParser):
    """Every element is closed in its order; links and sources are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [v or "" for k, v in attrs if k in ("src", "href")]
        if tag == "img":
            assert dict(attrs).get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def result() -> TournamentResult:
    one = window(150)
    config = rules(
        methods=["rrf"],
        fusions={
            "ours": {"mode": "single", "model": "other"},
            "broken": {"mode": "learned", "min_queries": 10**6, "too_few": "error"},
        },
    )
    # costs put the models' own share into the latency plot
    found = play(
        [one],
        engine_config(*one.pool.models).build_strategy,
        config,
        costs=dict.fromkeys(one.pool.models, 2.0),
    )
    return found.with_curves(
        [Curve(EVIL, "budget, ms", "NDCG@10", {EVIL: [(1, 0.1), (5, 0.2)], "b": [(1, 0.2)]})]
    )


def test_the_page_is_whole_and_needs_nothing_else(result: TournamentResult) -> None:
    page = render_report(result)
    assert page.startswith("<!DOCTYPE html>")
    parser = Strict()
    parser.feed(page)
    assert parser.open == []
    assert "script" not in parser.seen
    assert all(source.startswith("data:image/png;base64,") for source in parser.sources)
    assert "url(" not in page
    assert "@import" not in page
    for source in parser.sources:
        assert base64.b64decode(source.partition(",")[2]).startswith(b"\x89PNG")


def test_names_are_escaped(result: TournamentResult) -> None:
    page = render_report(result)
    assert EVIL not in page
    assert "&lt;script&gt;" in page


def test_everything_is_told(result: TournamentResult) -> None:
    page = render_report(result)
    for row in result.rows:
        assert row.name in page
    assert "DataError" in page
    assert f"Ship <strong>{result.recommendation.name}</strong>" in page
    assert "fusion:" in page


def test_the_pictures(result: TournamentResult) -> None:
    found = pictures(result)
    assert [picture.title for picture in found] == [
        "Against the best single model",
        "Who gains: head and tail, cold and warm",
        "What each model knows that the others do not",
        "Quality against latency",
        EVIL,
    ]
    assert all(picture.text for picture in found)


def test_models_alone_have_no_forest() -> None:
    one = window(60, strong=0.5)
    found = play([one], engine_config("strong").build_strategy, rules(timed=0))
    titles = [picture.title for picture in pictures(found)]
    assert "Against the best single model" not in titles
    assert "Quality against latency" not in titles
    assert "<!DOCTYPE html>" in render_report(found)


def test_the_overlay_says_why_and_reads_back(result: TournamentResult) -> None:
    text = recommended_yaml(result)
    comments = " ".join(re.findall(r"^# (.*)$", text, re.MULTILINE))
    assert comments.startswith(f"{result.recommendation.name}: ")
    read = YAML(typ="safe").load(StringIO(text))
    assert read == {"fusion": result.recommendation.fusion}


def test_the_tables_for_the_terminal(result: TournamentResult) -> None:
    from rich.console import Console

    stream = StringIO()
    Console(file=stream, width=80).print(result.rich(most=1))
    shown = stream.getvalue()
    assert f"recommended: {result.recommendation.name}" in shown
    assert "failed: broken" in shown
    assert "†" in shown
    flowing = " ".join(shown.split())
    for note in result.notes:  # in 80 characters, and whole
        assert " ".join(note.split()) in flowing
    for part in ("head items", "tail items", "cold users", "warm users", "alone"):
        assert part in shown
    assert f"{result.complementarity.oracle:.4f}" in shown
    assert result.nested is not None
    assert "Nested estimate" in flowing
    assert f"{result.nested.mean:+.4f}" in flowing


def test_the_tables_in_markdown(result: TournamentResult) -> None:
    entrants, *others = result.markdown().split("\n\n| slice |")
    lines = entrants.splitlines()
    assert sum(line.startswith("|") for line in lines) == 2 + len(result.rows) - 1
    (others_text,) = others
    assert "| cold users |" in others_text
    assert "| model | finds | alone | shares most with |" in others_text


def test_whom_a_model_shares_most_with() -> None:
    ranks = {"a": np.array([1, 2, 0, 0]), "b": np.array([1, 0, 3, 0]), "c": np.array([0, 0, 0, 0])}
    of = complementarity_of(ranks, np.array([True, True, True, False]), 10)
    empty = TournamentResult(10, 0.01, "a", (), Recommended("a", "model", {}, ""), None, (), of)
    (listing,) = listings(empty)
    # a finds 2 of 4, one of them alone; b has 1 of its 2; c finds none
    assert listing.rows == (
        ("a", "50.0%", "25.0%", "b (50%)"),
        ("b", "50.0%", "25.0%", "a (50%)"),
        ("c", "0.0%", "0.0%", "–"),
    )
    assert "any model finds 75.0%" in listing.title
