"""One item of an Amazon ``meta`` file in the same few fields for every version."""

from __future__ import annotations

import ast
import html
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

__all__ = ["item_of", "parse_2014"]

_MARKUP = re.compile(r"<[^<>]*>")
_PRICE = re.compile(r"\$?\s*(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?")


def parse_2014(line: str) -> Any:
    """A line of a 2014 ``meta`` file: a literal of Python, or JSON.

    Read with `ast.literal_eval`, which builds constants and nothing else.
    """
    with warnings.catch_warnings():
        # the lab's texts hold backslashes that Python warns of
        warnings.simplefilter("ignore")
        try:
            return ast.literal_eval(line.strip())
        except (ValueError, SyntaxError):
            return json.loads(line)


def item_of(raw: Mapping[str, Any], version: int) -> tuple[dict[str, Any], bool]:
    """title, text, categories, brand, price, also_buy; and whether the title could be read.

    In 2018 some titles are a piece of the page's script (they hold ``getTime``); such a title is
    left empty.
    """
    title = _text(raw.get("title"))
    readable = "getTime" not in title
    if version == 2014:
        related = raw.get("related")
        bought = related.get("also_bought") if isinstance(related, Mapping) else None
        categories, brand = raw.get("categories"), raw.get("brand")
    elif version == 2018:
        bought, categories, brand = raw.get("also_buy"), raw.get("category"), raw.get("brand")
    else:
        bought, brand = raw.get("bought_together"), raw.get("store")
        categories = raw.get("categories") or raw.get("main_category")
    return {
        "title": (title if readable else "") or None,
        "text": _text(raw.get("description")) or None,
        "categories": list(dict.fromkeys(_texts(categories))),
        "brand": _text(brand) or None,
        "price": _price(raw.get("price")),
        "also_buy": _texts(bought),
    }, readable


def _texts(value: Any) -> list[str]:
    """The texts of a text, a list, or a list of lists; pieces of the page's markup are left out."""
    if isinstance(value, list | tuple):
        return [text for part in value for text in _texts(part)]
    if not isinstance(value, str):
        return []
    text = html.unescape(_MARKUP.sub(" ", value)).encode("utf-8", "replace").decode()
    text = " ".join(text.split())
    return [text] if text else []


def _text(value: Any) -> str:
    return " ".join(_texts(value))


def _price(value: Any) -> float | None:
    """A number, or a text such as ``$1,234.50``; anything else (ranges, markup) is None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _PRICE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1].replace(",", "") + (match[2] or "")) if match else None
