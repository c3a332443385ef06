"""A field of the catalogue as codes: which values each item has."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Catalog
from fusion.errors import ConfigError, DataError, explain
from fusion.ragged import Ragged

__all__ = ["FieldValues", "as_values", "column", "values_of"]


@dataclass(frozen=True, slots=True)
class FieldValues:
    """The values of one field.

    Attributes:
        field: its name.
        names: ``V`` distinct values.
        of_item: ``I`` lists of codes (places in ``names``), each code once; empty = no value.
    """

    field: str
    names: tuple[Any, ...]
    of_item: Ragged

    def members(self, items: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """(P, V') bool: which of the ``V'`` values found among ``items`` (P,) each of them has."""
        own = self.of_item.take(items)
        found, at = np.unique(own.values, return_inverse=True)
        out = np.zeros((len(items), len(found)), bool)
        out[own.rows, at] = True
        return out

    def code(self, value: Any, who: str) -> int:
        """The code of ``value``.

        Raises:
            ConfigError: no item has it; the nearest ones are named.
        """
        if value in self.names:
            return self.names.index(value)
        raise ConfigError(
            explain(who, f"a value of the field {self.field!r}", repr(value), _near(value, self))
        )


def _near(value: Any, values: FieldValues) -> str:
    names = [str(name) for name in values.names]
    near = difflib.get_close_matches(str(value), names[:50_000], n=3)
    return f"nearest: {', '.join(map(repr, near))}" if near else "check the spelling"


def column(catalog: Catalog, field: str, who: str) -> tuple[Any, ...]:
    """One value an item, as the caller's frame had it.

    Raises:
        ConfigError: there is no such field; the message lists those that there are.
    """
    if field in catalog.fields:
        return catalog.fields[field]
    known = sorted(catalog.fields)
    near = difflib.get_close_matches(field, known, n=1)
    raise ConfigError(
        explain(
            who,
            f"a field of the items out of {', '.join(known) or '(none: no table of items)'}",
            repr(field),
            f"did you mean {near[0]!r}?" if near else "check the spelling",
        )
    )


def values_of(catalog: Catalog, field: str, who: str) -> FieldValues:
    """The values of ``field``: a list gives several, None gives none.

    Raises:
        ConfigError: there is no such field.
        DataError: a value is neither text, a number, a truth value, nor a list of such.
    """
    lists = [as_values(value, field, who) for value in column(catalog, field, who)]
    names = sorted({value for own in lists for value in own}, key=lambda v: (str(v), str(type(v))))
    code = {name: at for at, name in enumerate(names)}
    return FieldValues(
        field, tuple(names), Ragged.of([[code[v] for v in dict.fromkeys(own)] for own in lists])
    )


def as_values(value: Any, field: str, who: str) -> Sequence[Any]:
    """The values of one item."""
    own = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    own = [one for one in own if one is not None]
    for one in own:
        if not isinstance(one, str | bool | int | float):
            raise DataError(
                explain(
                    f"{who}, field {field!r}",
                    "text, numbers, or lists of them",
                    f"{one!r} ({type(one).__name__})",
                )
            )
    return own
