"""A tree of fusions: one fusion over others, to any depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from fusion.config_components import Fusion, Name, make
from fusion.errors import ConfigError, explain
from fusion.protocols import ComponentConfig, FitContext, Fused, Pool, Strategy, Windows
from fusion.ragged import segment_rank
from fusion.strategies.nesting import CrossFitted, NestedPool, Voter, nested_windows

__all__ = ["Tree", "TreeConfig", "best_rows", "restricted"]


class TreeConfig(ComponentConfig):
    """Settings of `Tree`."""

    fusion: Fusion = Field(description="the fusion on top")
    fusions: dict[Name, Fusion] = Field(
        default_factory=dict,
        description="fusions below it, by the names under which it knows them as models",
    )
    keep: int | None = Field(
        None, ge=1, description="only so many best candidates of a query stay; null = all"
    )

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        make("fusion", "fusion", self.fusion)
        return self


class Tree(Strategy):
    """A fusion that sees other fusions as models.

    In YAML nobody writes ``mode: tree``: any fusion may have the keys ``fusions`` and ``keep``::

        fusion:
          mode: learned
          models: [cheap, bert]
          fusions:
            cheap: {mode: parallel, models: [ease, item_knn], method: rrf, keep: 100}

    Names: the fusion on top may use the names of its sub-fusions and of all models. Where it names
    none (``models: null``), it takes its sub-fusions. A sub-fusion that it does not use is an
    error, as a setting without effect would be.

    A sub-fusion's column is its fused score, in the order it gave (float32, see
    `fusion.strategies.nesting.float32_in_order`); what it dropped is ``FILTERED``. The parts of the
    contributions have the sub-fusions' names.

    Learning: each sub-fusion learns from the windows. If the fusion on top learns too, it sees only
    scores by copies that were fitted on other users' events (stacked generalisation, Wolpert,
    Neural Networks 5, 1992), so that it cannot mistake memory for skill.
    """

    Config = TreeConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._top = _strategy(self.name, self.config.fusion)
        self._children = {
            child: _strategy(child, params) for child, params in self.config.fusions.items()
        }

    @property
    def top(self) -> Strategy:
        """The fusion on top."""
        return self._top

    @property
    def children(self) -> dict[str, Strategy]:
        """The fusions below it."""
        return dict(self._children)

    @property
    def learns(self) -> bool:
        """Whether any fusion of the tree does."""
        return self._top.learns or any(child.learns for child in self._children.values())

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """Every model that the tree asks, in the engine's order.

        Raises:
            ConfigError: an unknown name, a sub-fusion named like a model, or one that is not used.
        """
        who = f"fusion {self.name}"
        for name in self._children:
            if name in models:
                raise ConfigError(
                    explain(who, "sub-fusions named unlike the models", f"{name!r} as both")
                )
        asked = self._top.uses(self._visible(models))
        for name in self._children:
            if name not in asked:
                raise ConfigError(
                    explain(
                        who,
                        "every sub-fusion to be used by the fusion on top of it",
                        f"{name!r} unused",
                        "name it among `models`, or leave it out",
                    )
                )
        below = {m for child in self._children.values() for m in child.uses(models)}
        return tuple(model for model in models if model in below or model in asked)

    def _visible(self, models: tuple[str, ...]) -> tuple[str, ...]:
        children = tuple(self._children)
        if children and getattr(self._top.config, "models", ()) is None:
            return children
        return (*children, *models)

    def fit(self, windows: Windows, context: FitContext) -> None:
        """Fit the sub-fusions, then the fusion on top.

        Raises:
            LeakageError: a column's model was not fitted on exactly its window's past.
        """
        voters: dict[str, Voter] = dict(self._children)
        for name, child in self._children.items():
            if child.learns and self._top.learns:
                voters[name] = CrossFitted.of(child, windows, context)
            if child.learns:
                child.fit(windows, context)
        if self._top.learns:
            visible = self._visible(windows[-1].pool.models)
            self._top.fit(nested_windows(windows, self._children, voters, visible), context)

    def fuse(self, pool: Pool) -> Fused:
        """What the fusion on top says; the parts are its own.

        Over sub-fusions, a candidate that none of those and no model it merges has a score for is
        left out: all of them dropped it.
        """
        if not self._children:
            fused = self._top.fuse(pool)
        else:
            visible = self._visible(pool.models)
            fused = self._top.fuse(NestedPool(pool, self._children, visible))
            asked = self._top.uses(visible)
            if set(asked) <= set(fused.candidates.models):
                kept = np.zeros(len(fused.scores), bool)
                for column in fused.candidates.only(asked).scores.T:
                    kept |= ~np.isnan(column)
                fused = fused if kept.all() else restricted(fused, kept)
        keep = self.config.keep
        if keep is None or (fused.candidates.lengths <= keep).all():
            return fused
        return restricted(fused, best_rows(fused, keep))

    def save(self, folder: Path) -> None:
        """A folder for each fusion."""
        for name, strategy in (("top", self._top), *self._children.items()):
            own = folder / ("top" if strategy is self._top else f"below-{name}")
            own.mkdir()
            strategy.save(own)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self._top.load(folder / "top")
        for name, child in self._children.items():
            child.load(folder / f"below-{name}")


def best_rows(fused: Fused, keep: int) -> npt.NDArray[np.bool_]:
    """(N,) bool: the ``keep`` best rows of each query; equal scores by item index."""
    _, rank = segment_rank(fused.candidates.offsets, (fused.candidates.items, -fused.scores))
    return rank <= keep


def restricted(fused: Fused, kept: npt.NDArray[np.bool_]) -> Fused:
    """The rows of ``fused`` where ``kept`` (N,) is true."""
    where = np.flatnonzero(kept)
    return Fused(
        fused.candidates.where(kept),
        fused.scores[kept],
        fused.parts,
        lambda rows: fused.explain(where[rows]),
    )


def _strategy(name: str, params: dict[str, Any]) -> Strategy:
    built = make("fusion", name, params)
    if not isinstance(built, Strategy):
        raise ConfigError(explain(f"fusion {name}", "a strategy", repr(built)))
    return built
