"""Epsilon-greedy exploration."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.after.exploring import Drawn, Exploring, ExploringConfig

__all__ = ["Epsilon", "EpsilonConfig"]


class EpsilonConfig(ExploringConfig):
    """Options of `Epsilon`."""

    epsilon: float = Field(0.1, ge=0, le=1, description="share of the places that explore")


class Epsilon(Exploring):
    """Each place holds the best item left, or with probability ``epsilon`` any of those left.

    Of ``m`` items of the pool left, the best is shown with probability ``1 - epsilon + epsilon /
    m`` and each other one with ``epsilon / m``: exact, given the places before.

    Source: Sutton and Barto, "Reinforcement learning", 2nd edition, MIT Press 2018, section 2.2,
    place by place without replacement.
    """

    Config: ClassVar[type[EpsilonConfig]] = EpsilonConfig

    def draw(self, scores: npt.NDArray[np.float64], n: int, rng: np.random.Generator) -> Drawn:
        """See `Exploring.draw`."""
        epsilon = self.config.epsilon
        left = list(range(len(scores)))
        places, chances = np.empty(n, np.int64), np.empty(n)
        for at in range(n):
            m = len(left)
            explores, any_of = rng.random() < epsilon, int(rng.integers(m))
            taken = any_of if explores else 0
            chances[at] = epsilon / m + (1 - epsilon if taken == 0 else 0.0)
            places[at] = left.pop(taken)
        return places, chances
