"""Parallel fusion: every model scores every candidate, and one method merges the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from fusion.artifacts import read_json, write_json
from fusion.methods.total import explain_by, fused_scores
from fusion.protocols import FitContext, Fused, Pool, Strategy, Windows
from fusion.strategies.leaks import refuse_leaks
from fusion.strategies.merging import (
    MergeConfig,
    columns_of,
    known_models,
    teach,
    unique_models,
    weight_vector,
)

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
    Requirements: nothing is learnt, unless the method or its normalisation learns.
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

    @property
    def learns(self) -> bool:
        """Whether the method does."""
        return bool(self._method.learns)

    def fit(self, windows: Windows, context: FitContext) -> None:
        """Fit the method on the windows' columns.

        Raises:
            LeakageError: a column's model was not fitted on exactly its window's past.
        """
        for window in windows:
            refuse_leaks(f"fusion {self.name}", self.uses(window.pool.models), window)
        teach(
            self._method,
            windows,
            lambda window: columns_of(
                window.pool, self._method.missing, self.uses(window.pool.models)
            ),
        )

    def fuse(self, pool: Pool) -> Fused:
        """Judge every candidate; the parts are the models."""
        models = self.uses(pool.models)
        candidates = columns_of(pool, self._method.missing, models)
        weights = weight_vector(f"fusion {self.name}", self.config.all_weights, models)
        return Fused(
            candidates,
            fused_scores(self._method, candidates, weights),
            models,
            explain_by(self._method, candidates, weights),
        )

    def save(self, folder: Path) -> None:
        """``method.json``, where the method learns."""
        if self.learns:
            write_json(folder / "method.json", self._method.state())

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        if self.learns:
            self._method.restore(read_json(folder / "method.json"))
