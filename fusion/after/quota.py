"""Quotas: at most, or at least, so many items of one category in the list that is shown."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from fusion.after.reordering import PoolConfig
from fusion.after.step import Ranking, Step, StepContext
from fusion.data.dataset import Catalog
from fusion.data.fields import FieldValues, values_of

__all__ = ["Quota", "QuotaConfig"]


class QuotaConfig(PoolConfig):
    """Options of `Quota`."""

    field: str = Field(description="the item field whose values are counted, as `categories`")
    at_most: int | None = Field(None, ge=0, description="no value more often than this")
    at_least: int | None = Field(
        None, ge=1, description="each of `values` at least so often, while the pool has such items"
    )
    values: tuple[bool | int | float | str, ...] | None = Field(
        None, description="the values that it is about; null = every value (`at_most` only)"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.at_most is None and self.at_least is None:
            raise ValueError("a quota needs at_most or at_least")
        if self.at_least is not None and self.values is None:
            raise ValueError("at_least needs values: which ones must be there")
        if self.at_least is not None and self.at_most is not None and self.at_most < self.at_least:
            raise ValueError("at_most must not be below at_least")
        return self


class Quota(Step):
    """The best list of ``k`` that keeps the quota, in the order of the ranking.

    First each value of ``at_least`` gets its best items of the pool, going down the ranking; then
    the free places are filled from the top with what no cap forbids. An item with several values
    counts for each of them. The cap is strict: where too few items keep it, the list is short.
    Nothing beyond the ``k`` chosen goes on to later steps, so that none of them can break it;
    exploration after a quota therefore changes the order only.
    """

    Config: ClassVar[type[QuotaConfig]] = QuotaConfig

    def depth(self, k: int) -> int:
        """At least ``pool``."""
        return max(k, int(self.config.pool))

    def bind(self, catalog: Catalog) -> tuple[FieldValues, npt.NDArray[np.bool_]]:
        """The field's values, and which of them (V,) the quota is about."""
        values = values_of(catalog, self.config.field, self.name)
        counted = np.ones(len(values.names), bool)
        if self.config.values is not None:
            counted[:] = False
            counted[[values.code(value, self.name) for value in self.config.values]] = True
        return values, counted

    def apply(self, ranking: Ranking, context: StepContext) -> Ranking:
        """The chosen ``k`` of each query."""
        values, counted = context.bound
        field = self.config.field
        size = max(int(self.config.pool), context.wanted)
        keep = np.zeros(len(ranking), bool)
        gone = np.zeros(len(ranking), bool)
        reasons = np.full(len(ranking), f"at most {self.config.at_most} of one {field}", object)
        brought: list[tuple[int, int]] = []
        for q in range(len(ranking.offsets) - 1):
            start, stop = int(ranking.offsets[q]), int(ranking.offsets[q + 1])
            codes = [
                [code for code in values.of_item[item].tolist() if counted[code]]
                for item in ranking.items[start : min(stop, start + size)].tolist()
            ]
            needed, chosen, capped = self._choose(codes, context.k, counted)
            keep[[start + place for place in chosen]] = True
            gone[[start + place for place in capped]] = True
            brought += [(q, int(ranking.items[start + p])) for p in needed if p >= context.k]
        out = ranking.without(gone, context.k, context.label, reasons)
        out = out.where(keep[~gone])
        return out.noted(
            brought, f"{context.label}: at least {self.config.at_least} of its {field}"
        )

    def _choose(
        self, codes: list[list[int]], k: int, counted: npt.NDArray[np.bool_]
    ) -> tuple[list[int], set[int], list[int]]:
        """Places taken for a need, all places taken, and places that the cap kept out."""
        most, least = self.config.at_most, self.config.at_least or 0
        count: Any = dict.fromkeys(np.flatnonzero(counted).tolist(), 0)
        chosen: set[int] = set()
        capped: list[int] = []

        def take(place: int) -> bool:
            if most is not None and any(count[code] >= most for code in codes[place]):
                return False
            chosen.add(place)
            for code in codes[place]:
                count[code] += 1
            return True

        for place, own in enumerate(codes):
            if len(chosen) < k and any(count[code] < least for code in own):
                take(place)
        needed = sorted(chosen)
        for place in range(len(codes)):
            if len(chosen) == k:
                break
            if place not in chosen and not take(place):
                capped.append(place)
        return needed, chosen, capped
