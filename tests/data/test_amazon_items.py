from typing import Any

import pytest

from fusion.data.amazon_items import item_of, parse_2014


def test_python_literals_and_json_are_read_but_nothing_is_run() -> None:
    assert parse_2014("{'a': [1, None, 'x']}\n") == {"a": [1, None, "x"]}
    assert parse_2014('{"a": null, "b": true}\n') == {"a": None, "b": True}
    with pytest.raises(ValueError, match="Expecting"):
        parse_2014("{'a': open('/etc/passwd')}")


@pytest.mark.parametrize(
    ("value", "price"),
    [
        (9, 9.0), ("$9.50", 9.5), ("12", 12.0), ("$1,234.50", 1234.5), ("$ 3.00", 3.0),
        ("$1.00 - $3.00", None), ("from 13.99", None), ("", None), (None, None), ("—", None),
        (".a-section { }", None), (True, None), ("1,2", None),
    ],
)  # fmt: skip
def test_prices(value: Any, price: float | None) -> None:
    assert item_of({"price": value}, 2023)[0]["price"] == price


def test_missing_keys_are_empty() -> None:
    for version in (2014, 2018, 2023):
        item, readable = item_of({}, version)
        assert readable
        assert item == {
            "title": None, "text": None, "categories": [], "brand": None, "price": None,
            "also_buy": [],
        }  # fmt: skip


def test_values_of_another_type_are_empty_not_guessed() -> None:
    item, _ = item_of({"title": 7, "brand": ["a"], "also_buy": "B1", "category": {"x": 1}}, 2018)
    assert (item["title"], item["brand"], item["categories"]) == (None, "a", [])


def test_markup_and_broken_text() -> None:
    raw = {
        "title": "<span>A&nbsp;B</span> 2 < 3",
        "category": ["X", "X", "<br>"],
        "description": "\ud83d!",
    }
    item, _ = item_of(raw, 2018)
    assert item["title"] == "A B 2 < 3"
    assert item["categories"] == ["X"]
    assert item["text"] == "?!"
