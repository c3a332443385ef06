"""Pinned items: what an editor wants at a place, whether or not a model found it."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from fusion.after.filter import item_of
from fusion.after.step import Phase, Ranking, Removed, Step, StepContext
from fusion.data.dataset import Catalog
from fusion.protocols import ComponentConfig

__all__ = ["Pin", "PinConfig", "Pinned"]

#: row of the ranking or -1, item_index, whether it is pinned
_Entry = tuple[int, int, bool]


class Pinned(ComponentConfig):
    """One item at one place."""

    item: str = Field(description="item id")
    position: int = Field(ge=1, description="its place in the list, from 1")


class PinConfig(ComponentConfig):
    """Options of `Pin`."""

    items: tuple[Pinned, ...] = Field(min_length=1, description="items and their places")

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        for what in ("item", "position"):
            if len({getattr(pin, what) for pin in self.items}) < len(self.items):
                raise ValueError(f"each {what} may stand once")
        return self


class Pin(Step):
    """Puts items at their places; the others keep their order around them.

    An item that the ranking holds moves there with its score and propensity 1 (nothing was left to
    chance); another one is inserted, without
    score (NaN) or contributions. It stands in the list once. What the query excludes (items
    already seen) is not pinned, nor what a filter of the pipeline does not let through; such pins
    are recorded as removed. In a list too short for its place an item goes to the end; a place
    beyond ``k`` has no effect.
    """

    Config: ClassVar[type[PinConfig]] = PinConfig
    phase = Phase.PIN

    def bind(self, catalog: Catalog) -> list[tuple[int, int]]:
        """(place, item_index), by place."""
        return sorted((p.position, item_of(catalog, p.item, self.name)) for p in self.config.items)

    def apply(self, ranking: Ranking, context: StepContext) -> Ranking:
        """The first ``k`` of each list, with the pinned items."""
        lists: list[list[_Entry]] = []
        refused: dict[str, list[tuple[int, int]]] = {}
        notes: dict[int, list[tuple[int, int]]] = {}
        pins = [(place, item) for place, item in context.bound if place <= context.k]
        for q in range(len(ranking.offsets) - 1):
            seen = set(context.queries.excluded[q].tolist())
            start, stop = int(ranking.offsets[q]), int(ranking.offsets[q + 1])
            row_of = dict(zip(ranking.items[start:stop].tolist(), range(start, stop), strict=True))
            put: list[tuple[int, int]] = []
            for place, item in pins:
                if item in seen:
                    refused.setdefault("pinned, but already seen", []).append((q, item))
                elif context.allowed is not None and not context.allowed[item]:
                    refused.setdefault("pinned, but filtered", []).append((q, item))
                else:
                    put.append((place, item))
            own = {item for _, item in put}
            rest = [(row, i, False) for i, row in row_of.items() if i not in own][: context.k]
            for place, item in put:
                rest.insert(place - 1, (row_of.get(item, -1), item, True))
                notes.setdefault(place, []).append((q, item))
            lists.append(rest[: context.k])
        out = _gather(ranking, lists)
        for place, where in notes.items():
            out = out.noted(where, f"{context.label}: place {place}")
        records = tuple(
            Removed(
                context.label,
                reason,
                np.array([q for q, _ in where], np.int64),
                np.array([item for _, item in where], np.int32),
            )
            for reason, where in refused.items()
        )
        return replace(out, removed=(*out.removed, *records))


def _gather(ranking: Ranking, lists: list[list[_Entry]]) -> Ranking:
    flat = [entry for entries in lists for entry in entries]
    rows = np.array([row for row, _, _ in flat], np.int64)
    pinned = np.array([certain for _, _, certain in flat], bool)
    there = rows >= 0
    out = replace(
        ranking,
        offsets=np.concatenate([[0], np.cumsum([len(own) for own in lists])]).astype(np.int64),
        items=np.array([item for _, item, _ in flat], np.int32),
        scores=np.full(len(flat), np.nan),
        rows=np.full(len(flat), -1, np.int64),
        propensities=np.ones(len(flat)),
    )
    out.scores[there] = ranking.scores[rows[there]]
    out.rows[there] = ranking.rows[rows[there]]
    drawn = there & ~pinned
    out.propensities[drawn] = ranking.propensities[rows[drawn]]
    return out
