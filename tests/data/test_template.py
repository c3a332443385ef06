import logging

import pytest

from fusion.data.template import DEFAULT_TEMPLATE, check_template, joined, render_text
from fusion.errors import DataError


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"title": "Heat", "categories": ["Crime", "Drama"], "text": "Thieves."},
            "Heat. Crime, Drama. Thieves",
        ),
        ({"title": "Heat"}, "Heat."),
        ({"title": "Heat", "categories": []}, "Heat."),
        ({"text": "Only text"}, "Only text"),
        ({"title": "Dr.", "text": "x"}, "Dr. x"),
        ({"title": "two\n lines"}, "two lines."),
        ({}, ""),
    ],
)
def test_an_empty_field_takes_its_punctuation_away(fields: dict[str, object], text: str) -> None:
    assert render_text(DEFAULT_TEMPLATE, fields) == text


def test_literal_text_around_the_fields_stays() -> None:
    assert render_text("Film: {title} {{x}}", {"title": "Heat"}) == "Film: Heat {x}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1995.0, "1995"),
        (1995, "1995"),
        (4.5, "4.5"),
        (None, ""),
        (["a", None, ["b"]], "a, b"),
        (True, "True"),
    ],
)
def test_values_as_text(value: object, text: str) -> None:
    assert joined(value) == text


@pytest.mark.parametrize(
    "template", ["{title", "title}", "{}", "{0}", "{title.x}", "{title!r}", "{title:>9}"]
)
def test_a_template_that_cannot_be_meant(template: str) -> None:
    with pytest.raises(DataError, match="template"):
        check_template(template, ["title"])


def test_a_template_that_names_no_field_there_is() -> None:
    with pytest.raises(DataError, match=r"some of the fields \['title'\].*check the spelling"):
        check_template("{titel}.", ["title"])


def test_one_absent_field_is_only_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_template("{title}. {plot}", ["title"])
    assert "['plot']" in caplog.text
