"""The text of an item, from its fields and a template."""

from __future__ import annotations

import logging
import string
from collections.abc import Collection, Mapping
from typing import Any

from fusion.errors import DataError, explain

__all__ = ["DEFAULT_TEMPLATE", "check_template", "joined", "render_text"]

log = logging.getLogger(__name__)

DEFAULT_TEMPLATE = "{title}. {categories}. {text}"


def check_template(template: str, columns: Collection[str]) -> None:
    """Refuse a template that cannot be meant.

    Args:
        template: as `render_text` takes it.
        columns: the fields there are.

    Raises:
        DataError: unbalanced braces, a piece that is no plain ``{name}``, or a template other than
            the default of whose fields none is there. A field that is not there beside one that
            is, is only warned of: the same template may serve data sets with and without it.
    """
    try:
        pieces = [piece for piece in string.Formatter().parse(template) if piece[1] is not None]
    except ValueError as error:
        raise DataError(
            explain("template", "text with {field} pieces", repr(template), str(error))
        ) from error
    names = [str(name) for _, name, _, _ in pieces]
    odd = [
        name
        for (_, name, spec, conversion) in pieces
        if not str(name).isidentifier() or spec or conversion
    ]
    if odd:
        raise DataError(
            explain(
                "template",
                "pieces like {title}, without index, format or conversion",
                repr(template),
            )
        )
    if template == DEFAULT_TEMPLATE or not columns:
        return
    absent = [name for name in names if name not in columns]
    if absent and len(absent) == len(names):
        raise DataError(
            explain(
                "template",
                f"some of the fields {sorted(columns)}",
                repr(template),
                "check the spelling",
            )
        )
    if absent:
        log.warning("template: no field %s here; fields: %s", absent, sorted(columns))


def render_text(template: str, fields: Mapping[str, Any]) -> str:
    """Fill ``template``; a field that is empty takes the punctuation after it away with it.

    >>> heat = {"title": "Heat", "categories": ["Crime", "Drama"]}
    >>> render_text("{title}. {categories}. {text}", heat)
    'Heat. Crime, Drama.'
    """
    out = ""
    pending = True  # whether the literal that comes belongs to something that was there
    for literal, name, _spec, _conversion in string.Formatter().parse(template):
        if pending:
            out += literal
        if name is not None:
            value = joined(fields.get(name))
            pending = bool(value)
            out += value.rstrip(".") if pending else ""
    return " ".join(out.split())


def joined(value: Any) -> str:
    """One line of text from a field: lists by commas, whole numbers without a point, None as "".

    A column of whole numbers with gaps comes as floats from some kinds of frame and as integers
    from others; the text must be the same.
    """
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, (joined(v) for v in value)))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).split())
