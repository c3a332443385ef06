"""One model alone: the baseline row of every comparison."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.protocols import ComponentConfig, Fused, Pool, Strategy
from fusion.strategies.merging import known_models

__all__ = ["Single", "SingleConfig"]


class SingleConfig(ComponentConfig):
    """Settings of `Single`."""

    model: str = Field(description="the model whose scores are taken as they are")


class Single(Strategy):
    """The order of one model's own scores over the pool's candidates.

    Candidates that the model gave no score are left out: it has no opinion of them, and a place
    at the end would be one. Its list may thus be shorter than asked for.
    """

    Config = SingleConfig

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """The one model.

        Raises:
            ConfigError: the engine does not have it.
        """
        return known_models(f"fusion {self.name}", (self.config.model,), models)

    def fuse(self, pool: Pool) -> Fused:
        """The scored candidates; the score is the model's own."""
        models = self.uses(pool.models)
        candidates = pool.complete(pool.candidates(), models)
        candidates = candidates.where(~np.isnan(candidates.scores[:, 0]))
        scores = candidates.scores.astype(np.float64)
        return Fused.of(candidates, scores[:, 0], models, scores)
