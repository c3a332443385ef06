"""CombMNZ: the sum of the scores times how many models gave one."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.candidates import Candidates
from fusion.methods.spec import NormalizationSpec
from fusion.normalizations.segments import FloatArray
from fusion.protocols import ComponentConfig, Method

__all__ = ["CombMNZ", "CombMNZConfig"]


class CombMNZConfig(ComponentConfig):
    """Settings of `CombMNZ`."""

    normalization: NormalizationSpec = Field(
        default_factory=lambda: NormalizationSpec(name="min_max"),
        description="puts the models on one scale; one without negative numbers",
        json_schema_extra={"default": "min_max"},
    )


class CombMNZ(Method):
    """``n * sum over models of weight * normalised score``, with ``n`` models giving a score.

    A missing score adds nothing and is not counted, whatever its reason: rewarding agreement is
    the method's whole point. Where every model scores every candidate, ``n`` is the same for all
    and the order is that of the weighted sum. A model of weight 0 is not counted either.

    With scores that may be negative (`ZScore`) agreement on a bad item is punished more than a
    single voice; that is the formula, not a fault.

    Source: Fox and Shaw, "Combination of Multiple Searches", TREC-2 1994. The weights are ours; all
    1 gives the paper's.
    """

    Config = CombMNZConfig

    def __init__(self, config: object = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)  # type: ignore[arg-type]
        self._normalization = self.config.normalization.build()

    def contributions(self, candidates: Candidates, weights: FloatArray) -> FloatArray:
        """(N, M) float64: ``n * weight * normalised score``."""
        scores: FloatArray = self._normalization.normalize(candidates)
        given = ~np.isnan(scores.T)
        voices = given[weights > 0].sum(axis=0, dtype=np.float64)
        out = np.empty(given.shape)
        for m, weight in enumerate(weights):
            out[m] = np.where(given[m], scores[:, m] * weight * voices, 0.0)
        return out.T
