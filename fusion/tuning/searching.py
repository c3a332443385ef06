"""The searches by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from fusion.tuning.coordinate import coordinate_ascent
from fusion.tuning.grid import grid
from fusion.tuning.objective import Part
from fusion.tuning.space import Space
from fusion.tuning.tpe import tpe
from fusion.tuning.trials import Trials

__all__ = ["SEARCHES", "Settings", "search"]

Name = Literal["coordinate", "grid", "optuna"]


@dataclass(frozen=True)
class Settings:
    """How to search.

    Attributes:
        search: which.
        trials: points that coordinate ascent and Optuna may try.
        step: of the lattice of weights; 1 divided by a whole number.
        restarts: of coordinate ascent, from random weights.
        patience: Optuna stops after so many trials without a better one; ``None`` = never.
    """

    search: Name = "coordinate"
    trials: int = 100
    step: float = 0.1
    restarts: int = 0
    patience: int | None = 40

    @property
    def lattice(self) -> int:
        """Steps from 0 to 1."""
        return round(1 / self.step)


def _grid(part: Part, space: Space, how: Settings, rng: np.random.Generator, show: bool) -> Trials:
    return grid(part, space, how.lattice, show)


def _ascent(
    part: Part, space: Space, how: Settings, rng: np.random.Generator, show: bool
) -> Trials:
    return coordinate_ascent(part, space, how.trials, how.lattice, how.restarts, rng)


def _tpe(part: Part, space: Space, how: Settings, rng: np.random.Generator, show: bool) -> Trials:
    return tpe(part, space, how.trials, how.patience, rng, show)


Search = Callable[[Part, Space, Settings, np.random.Generator, bool], Trials]
SEARCHES: Mapping[str, Search] = MappingProxyType(
    {"coordinate": _ascent, "grid": _grid, "optuna": _tpe}
)


def search(
    part: Part, space: Space, how: Settings, rng: np.random.Generator, show: bool = False
) -> Trials:
    """Try points of ``space`` on the queries of ``part``.

    Args:
        part: the queries that decide.
        space: every point there is.
        how: which search, and its settings.
        rng: of what is random in it.
        show: whether to show a bar.
    """
    return SEARCHES[how.search](part, space, how, rng, show)
