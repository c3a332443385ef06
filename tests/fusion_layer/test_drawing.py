from __future__ import annotations

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion.algebra import Expression, model
from fusion.config import EngineConfig
from fusion.drawing import FORMS, Node, draw, tree_of
from fusion.drawing_svg import CHARACTER, layout, svg
from fusion.errors import ConfigError

EASE, KNN, POPULARITY, BERT = map(model, ["ease", "item_knn", "popularity", "bert"])
SVG = "{http://www.w3.org/2000/svg}"


def config(fusion: dict[str, Any] | Expression, **more: Any) -> EngineConfig:
    return EngineConfig.from_mapping(
        {
            "retrievers": {"ease": {}, "item_knn": {"n": 50}, "popularity": {}},
            "rankers": {"bert": {"top": 30}, "second": {"type": "bert"}},
            "fusion": fusion if isinstance(fusion, dict) else fusion.to_config(),
            **more,
        }
    )


CASCADE = config(
    {
        "mode": "serial",
        "stages": [
            {"models": ["ease", "cheap"], "weights": {"cheap": 0.5}, "keep": 100},
            {
                "fusion": {
                    "mode": "learned",
                    "models": ["cheap", "second"],
                    "stacker": "linear",
                    "hide_age": 0.5,
                }
            },
        ],
        "fusions": {
            "cheap": {
                "mode": "parallel",
                "models": ["item_knn", "popularity"],
                "method": {"name": "weighted_sum", "normalization": "z_score"},
                "keep": 40,
            }
        },
        "keep": 20,
    },
    after=[{"name": "filter", "deny": ['<tea> & "milk"']}, "mmr"],
)


def test_text_shows_the_whole_tree() -> None:
    assert draw(CASCADE, "text") == (
        "after: mmr\n"
        '└─ after: filter (deny: <tea> & "milk")\n'
        "   └─ serial (keeps 20)\n"
        "      ├─ stage 1: rrf (passes on 100)\n"
        "      │  ├─ ease (retriever; brings 200)\n"
        "      │  └─ weight 0.5, cheap: parallel: weighted_sum/z_score (keeps 40)\n"
        "      │     ├─ item_knn (retriever; brings 50)\n"
        "      │     └─ popularity (retriever; brings 200)\n"
        "      └─ stage 2: learned: linear (hide_age: 0.5)\n"
        "         ├─ cheap: parallel: weighted_sum/z_score (see above)\n"
        "         └─ second (ranker bert; scores the first 100)"
    )


@pytest.mark.parametrize(
    ("fusion", "text"),
    [
        ({"mode": "single", "model": "bert"}, "single\n└─ bert (ranker; scores the first 30)"),
        (
            (EASE | 2 * KNN).by("rrf", k=10),
            "parallel: rrf (k: 10)\n"
            "├─ ease (retriever; brings 200)\n"
            "└─ weight 2, item_knn (retriever; brings 50)",
        ),
        (
            {
                "mode": "tuned",
                "fusion": {
                    "models": ["ease", "bert"],
                    "method": {"name": "rrf", "weights": {"ease": 3}},
                },
                "weights": True,
                "space": {"method.k": [10, 60]},
            },
            "tuned by coordinate (weights; method.k; for NDCG@10)\n"
            "└─ parallel: rrf\n"
            "   ├─ weight 3, ease (retriever; brings 200)\n"
            "   └─ bert (ranker; scores the first 30)",
        ),
        (
            {"mode": "fusion.strategies.single:Single", "model": "ease"},
            "fusion.strategies.single:Single (model: ease)\n└─ ease (retriever; brings 200)",
        ),
    ],
)
def test_each_mode(fusion: Any, text: str) -> None:
    assert draw(config(fusion), "text") == text


def test_without_models_a_fusion_has_its_sub_fusions_or_else_all_models() -> None:
    def titles(fusion: dict[str, Any]) -> list[str]:
        return [child.title for _, child in tree_of(config(fusion)).children]

    assert titles({}) == ["ease", "item_knn", "popularity", "bert", "second"]
    assert titles({"fusions": {"x": {"models": ["ease"]}}}) == ["x: parallel: rrf"]


def test_only_what_is_not_the_default_is_shown() -> None:
    root = tree_of(
        config({"method": {"name": "comb_sum", "missing": {"cold": "lowest"}}, "keep": 9})
    )
    assert root.title == "parallel: comb_sum/min_max"
    assert root.notes == ("missing: cold lowest", "keeps 9")


NODE = re.compile(r'    (n\d+)(\(\["[^"]*"\]\)|\["[^"]*"\]|\{\{"[^"]*"\}\})')
ARROW = re.compile(r'    (n\d+) -->(?:\|"[^"]*"\|)? (n\d+)')


def test_mermaid_is_a_flowchart_of_declared_nodes() -> None:
    first, *lines = draw(CASCADE, "mermaid").splitlines()
    assert first == "flowchart LR"
    nodes = [found[1] for line in lines if (found := NODE.fullmatch(line))]
    arrows = [(found[1], found[2]) for line in lines if (found := ARROW.fullmatch(line))]
    assert len(nodes) + len(arrows) == len(lines)
    assert len(set(nodes)) == len(nodes)
    assert {end for arrow in arrows for end in arrow} == set(nodes)
    # two steps, the cascade, two stages, `cheap` (once, with two parents), three models, second
    assert (len(nodes), len(arrows)) == (10, 10)
    assert sum(source == "n5" for source, _ in arrows) == 2


def test_mermaid_escapes_what_has_a_meaning_there() -> None:
    drawn = draw(CASCADE, "mermaid")
    assert "deny: #60;tea#62; #38; #34;milk#34;" in drawn
    assert '-->|"weight 0.5"|' in drawn


def test_svg_is_a_picture_on_its_own() -> None:
    root = ElementTree.fromstring(draw(CASCADE, "svg"))
    assert root.tag == f"{SVG}svg"
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") == "Fusion: after: mmr"
    ids = {element.get("id") for element in root}
    assert set(root.attrib["aria-labelledby"].split()) <= ids
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags == {"svg", "title", "desc", "rect", "path", "text"}  # no style, no script, no link
    words = " ".join(element.text or "" for element in root.iter(f"{SVG}text"))
    for shown in ("stage 1: rrf", "passes on 100", "weight 0.5", '<tea> & "milk"', "second"):
        assert shown in words
    for element in root.iter():
        if element.tag in (f"{SVG}text", f"{SVG}path"):
            assert element.get("fill")


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)
trees = st.recursive(
    st.builds(Node, texts, st.tuples(texts), st.just("model")),
    lambda inner: st.builds(
        lambda title, notes, children: Node(title, tuple(notes), "fusion", tuple(children)),
        texts,
        st.lists(texts, max_size=6),
        st.lists(st.tuples(st.sampled_from(["", "weight 0.25"]), inner), min_size=1, max_size=4),
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(trees)
def test_no_two_boxes_overlap_and_lines_have_room(root: Node) -> None:
    boxes = layout(root)
    for one, two in itertools.combinations(boxes, 2):
        apart_x = one.x + one.width <= two.x or two.x + two.width <= one.x
        apart_y = one.y + one.height <= two.y or two.y + two.height <= one.y
        assert apart_x or apart_y
    for box in boxes:
        assert box.x >= 0
        assert box.y >= 0
        if box.parent >= 0:
            room = boxes[box.parent].x - (box.x + box.width)
            assert room >= 40 + len(box.label) * CHARACTER - 1e-9
    drawn = svg(root)
    picture = ElementTree.fromstring(drawn)
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert all(box.x + box.width < width and box.y + box.height < height for box in boxes)


def test_a_parent_and_its_children_share_their_middle() -> None:
    leaf = Node("leaf", (), "model")
    high = Node("high", tuple("123456"), "fusion", (("", leaf), ("", leaf)))
    parent, first, second = layout(high)
    assert parent.height > second.y + second.height - first.y
    middle = (first.y + second.y + second.height) / 2
    assert parent.y + parent.height / 2 == pytest.approx(middle)


@pytest.mark.parametrize("form", FORMS)
def test_control_characters_do_not_reach_the_drawing(form: str) -> None:
    drawn = draw(config({}, after=[{"name": "filter", "deny": ["\x1b[31m\x07"]}]), form)
    assert "\x1b" not in drawn
    assert "\x07" not in drawn
    if form == "svg":
        ElementTree.fromstring(drawn)


def test_an_unknown_form() -> None:
    with pytest.raises(ConfigError, match="text, mermaid, svg, got 'png'"):
        draw(CASCADE, "png")
