"""Serial fusion: a cascade, in which each stage judges only what the stage before it kept."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from fusion.candidates import Candidates, Missing, Scores
from fusion.errors import ConfigError, explain
from fusion.methods.total import total
from fusion.normalizations.segments import FloatArray, columns, extremes
from fusion.protocols import ComponentConfig, Fused, Pool, Strategy
from fusion.ragged import segment_rank
from fusion.strategies.merging import MergeConfig, known_models, unique_models, weight_vector

__all__ = ["Serial", "SerialConfig", "Stage"]


class Stage(MergeConfig):
    """One stage of `Serial`."""

    models: tuple[str, ...] = Field(
        description="the models that its method merges; those of earlier stages may be named again "
        "and are not asked again"
    )
    keep: int | None = Field(
        None, ge=1, description="how many candidates of a query go on; null in the last stage only"
    )

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        unique_models(self.models)
        weight_vector("weights", self.all_weights, self.models)
        return self


class SerialConfig(ComponentConfig):
    """Settings of `Serial`."""

    stages: tuple[Stage, ...] = Field(min_length=1, description="from the cheapest to the dearest")

    @model_validator(mode="after")
    def _check_keeps(self) -> Self:
        kept = None
        for number, stage in enumerate(self.stages, start=1):
            if stage.keep is None and number < len(self.stages):
                raise ConfigError(
                    explain(f"stage {number}", "how many candidates it keeps", "no `keep`")
                )
            if kept is not None and stage.keep is not None and stage.keep > kept:
                raise ConfigError(
                    explain(
                        f"stage {number}",
                        f"to keep at most the {kept} that reach it",
                        str(stage.keep),
                    )
                )
            kept = stage.keep
        return self


class Serial(Strategy):
    """Cheap models first, dear ones on what is left.

    Inputs: in stage ``i``, the columns of its models on the candidates that stage ``i - 1`` kept;
    a model of a later stage is never asked about the others, which have the reason ``FILTERED``.

    The order: whoever a later stage judged stands before whoever an earlier stage cut, and those
    cut by the same stage stand in that stage's order. So that one number says this, a candidate's
    score is what the last stage that judged it gave, plus the part ``"cascade"``: 0 for what the
    last stage kept, and below that, for each stage's cut, the offset that puts its best 1 under
    the worst of the candidates that went on. ``keep`` in the last stage therefore moves nothing;
    it lets the score show the gap.

    Example, in YAML::

        fusion:
          mode: serial
          stages:
            - {models: [ease, dense], method: rrf, keep: 100}
            - {models: [ease, bert], method: weighted_sum, keep: 20}
            - {models: [gpt]}
    """

    Config = SerialConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._methods = [stage.method.build() for stage in self.config.stages]

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """Every stage's models, in the order of the stages.

        Raises:
            ConfigError: the engine lacks one of them.
        """
        asked = dict.fromkeys(name for stage in self.config.stages for name in stage.models)
        return known_models(f"fusion {self.name}", tuple(asked), models)

    def fuse(self, pool: Pool) -> Fused:
        """Judge every candidate, each by the stages that it reaches."""
        models = self.uses(pool.models)
        union = pool.candidates()
        survivors = Candidates.bare(union.offsets, union.items)
        rows = np.arange(len(union))  # where the survivors stand in the union
        values = np.full((len(models), len(union)), np.nan, np.float32)
        why = np.full(values.shape, Missing.FILTERED, np.uint8)
        parts = np.zeros((len(union), len(models) + 1))
        scores = np.zeros(len(union))
        left_at = np.zeros(len(union), np.int64)  # how many stages kept the row
        for stage, method in zip(self.config.stages, self._methods, strict=True):
            new = tuple(model for model in stage.models if model not in survivors.models)
            asked = pool.complete(survivors, new)
            for model, column, reason in zip(new, columns(asked), asked.why.T, strict=True):
                survivors = survivors.with_scores(model, Scores(column, reason))
                at = models.index(model)
                values[at, rows], why[at, rows] = column, reason
            weights = weight_vector(f"fusion {self.name}", stage.all_weights, stage.models)
            given = method.contributions(survivors.only(stage.models), weights)
            parts[rows] = 0.0
            for model, part in zip(stage.models, given.T, strict=True):
                parts[rows, models.index(model)] = part
            scores[rows] = total(given)
            if stage.keep is not None:
                kept = _best(survivors, scores[rows], stage.keep)
                survivors, rows = survivors.where(kept), rows[kept]
            left_at[rows] += 1
        parts[:, -1] = _cascade(scores, left_at, union.offsets, len(self.config.stages))
        judged = Candidates(union.offsets, union.items, values.T, models, why.T)
        return Fused.of(judged, scores + parts[:, -1], (*models, "cascade"), parts)


def _best(candidates: Candidates, scores: FloatArray, keep: int) -> npt.NDArray[np.bool_]:
    """(N,) bool: the ``keep`` best rows of each query; equal scores by item index."""
    _, rank = segment_rank(candidates.offsets, (candidates.items, -scores))
    return rank <= keep


def _cascade(
    scores: FloatArray, left_at: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], stages: int
) -> FloatArray:
    """(N,) float64: the offset of each row, see `Serial`."""
    lengths = np.diff(offsets)
    out = np.zeros(len(scores))
    floor = np.full(len(lengths), np.nan)  # the worst score so far, from the last stage upwards
    for group in range(stages, -1, -1):
        inside = left_at == group
        worst, best = extremes(np.where(inside, scores, np.nan), offsets)
        # a step of 1, and more where the scores are so large that 1 would be rounded away
        step = 1.0 + 1e-9 * (np.abs(floor) + np.abs(best))
        offset = floor - step - best
        offset = np.where(np.isnan(offset), 0.0, offset)
        out += np.where(inside, np.repeat(offset, lengths), 0.0)
        floor = np.fmin(floor, worst + offset)
    return out
