"""Allow and deny lists, and filters over item fields."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.conditions import Condition
from fusion.after.reordering import PoolConfig
from fusion.after.step import Phase, Ranking, Step, StepContext
from fusion.data.dataset import Catalog
from fusion.errors import ConfigError, UnknownItemError

__all__ = ["Filter", "FilterConfig"]


class FilterConfig(PoolConfig):
    """Options of `Filter`; an item must pass every one of them."""

    allow: tuple[str, ...] | None = Field(
        None, description="only these item ids may be shown; null = all"
    )
    deny: tuple[str, ...] = Field((), description="item ids that are never shown")
    keep: tuple[Condition, ...] = Field(
        (), description="show only items that meet every one of these conditions"
    )
    drop: tuple[Condition, ...] = Field(
        (), description="show no item that meets any of these conditions"
    )
    unknown_ids: Literal["error", "ignore"] = Field(
        "error", description="what an item id means that the catalogue does not hold"
    )


class Filter(Step):
    """Takes out what may not be shown, wherever it stands; pinned items obey it too.

    The reason of the first rule that an item breaks is recorded: deny, allow, keep, drop. Where
    too few items pass, the list is short; a larger ``pool`` asks the models for more.
    """

    Config: ClassVar[type[FilterConfig]] = FilterConfig
    phase = Phase.FILTER

    def depth(self, k: int) -> int:
        """At least ``pool``."""
        return max(k, int(self.config.pool))

    def bind(self, catalog: Catalog) -> list[tuple[str, npt.NDArray[np.bool_]]]:
        """Each rule in words, with the (I,) bool mask of what breaks it."""
        config = self.config
        rules = []
        if config.deny:
            rules.append(("denied", self._listed(config.deny, catalog)))
        if config.allow is not None:
            rules.append(("not in the allow list", ~self._listed(config.allow, catalog)))
        for condition in config.keep:
            rules.append((f"not {condition}", ~condition.mask(catalog, self.name)))
        for condition in config.drop:
            rules.append((str(condition), condition.mask(catalog, self.name)))
        return rules

    def _listed(self, ids: tuple[str, ...], catalog: Catalog) -> npt.NDArray[np.bool_]:
        out = np.zeros(len(catalog), bool)
        for name in ids:
            if self.config.unknown_ids == "ignore" and name not in catalog.vocabulary:
                continue
            out[item_of(catalog, name, self.name)] = True
        return out

    def allowed(self, bound: Any) -> npt.NDArray[np.bool_] | None:
        """What breaks no rule."""
        masks = [mask for _, mask in bound]
        return ~np.logical_or.reduce(masks) if masks else None

    def apply(self, ranking: Ranking, context: StepContext) -> Ranking:
        """Without what breaks a rule."""
        gone = np.zeros(len(ranking), bool)
        reasons = np.full(len(ranking), "", dtype=object)
        for reason, mask in context.bound:
            new = mask[ranking.items] & ~gone
            reasons[new] = reason
            gone |= new
        return ranking.without(gone, context.k, context.label, reasons) if gone.any() else ranking


def item_of(catalog: Catalog, name: str, who: str) -> int:
    """The index of an item that a configuration names.

    Raises:
        ConfigError: the catalogue does not hold it; the nearest ids are named.
    """
    try:
        return catalog.vocabulary.index(name)
    except UnknownItemError as error:
        raise ConfigError(str(error).replace("recfusion", who, 1)) from error
