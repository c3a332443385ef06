"""Parallel fusion: every model scores every candidate, and one method merges the scores."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from fusion.methods.total import total
from fusion.protocols import Fused, Pool, Strategy
from fusion.strategies.merging import MergeConfig, known_models, unique_models, weight_vector

__all__ = ["Parallel", "ParallelConfig"]


class ParallelConfig(MergeConfig):
    """Settings of `Parallel`."""

    models: tuple[str, ...] | None = Field(None, description="the models to merge; null = all")

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if self.models is not None:
            unique_models(self.models)
            weight_vector("weights", self.all_weights, self.models)
        return self


class Parallel(Strategy):
    """All models look at the whole union of the retrievers' lists.

    Inputs: the completed columns of `models`.
    Requirements: nothing is learnt.
    Relations: `fusion.strategies.serial.Serial` of one stage that keeps everything is this.

    Example, in YAML::

        fusion:
          mode: parallel
          method: {name: weighted_sum, normalization: min_max}
          weights: {ease: 2, bert: 1}
    """

    Config = ParallelConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._method = self.config.method.build()

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """The configured models, or all.

        Raises:
            ConfigError: one of them, or one that has a weight, is not there.
        """
        asked = models if self.config.models is None else self.config.models
        chosen = known_models(f"fusion {self.name}", asked, models)
        weight_vector(f"fusion {self.name}", self.config.all_weights, chosen)
        return chosen

    def fuse(self, pool: Pool) -> Fused:
        """Judge every candidate; the parts are the models."""
        models = self.uses(pool.models)
        candidates = pool.complete(pool.candidates(), models)
        parts = self.config.contributions(self._method, candidates, f"fusion {self.name}")
        return Fused(candidates, total(parts), models, parts)
