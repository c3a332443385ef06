"""Distribution-based score fusion (DBSF): scales of three standard deviations either way."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.candidates import Candidates
from fusion.methods.base import MethodConfig, WorthMethod
from fusion.normalizations.segments import FloatArray
from fusion.normalizations.z_score import ZScore

__all__ = ["DistributionBased", "DistributionBasedConfig"]


class DistributionBasedConfig(MethodConfig):
    """Settings of `DistributionBased`."""

    deviations: float = Field(
        3.0,
        gt=0,
        allow_inf_nan=False,
        description="half the width of a model's scale in standard deviations; 3 is the source's",
    )


class DistributionBased(WorthMethod):
    """``sum over models of weight * (s - low) / (high - low)``, the ends being ``mean -/+ 3 sd``.

    Mean and standard deviation (the population's) are those of the model's scores in the query. A
    single outlier moves such ends less than it moves the extremes of `MinMax`. A score beyond an
    end is not clipped, so that two of them still have an order. Where all scores of a model in
    the query are equal, each becomes 1/2, the middle of the scale. A missing score adds nothing.

    Raising a score does not promise to raise the item: the standard deviation grows with it.

    Source: Mazzeschi, "Distribution-Based Score Fusion (DBSF), a new approach to Vector Search
    Ranking", 2023 (an article on the web); the form that Qdrant and LlamaIndex have. The weights
    are ours; all 1 gives the article's.
    """

    Config = DistributionBasedConfig

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64, around 1/2."""
        z = np.ascontiguousarray(ZScore().normalize(candidates).T)
        z /= 2.0 * self.config.deviations
        z += 0.5
        return z
