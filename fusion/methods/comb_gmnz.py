"""CombGMNZ: CombMNZ with a say in how much agreement counts."""

from __future__ import annotations

from pydantic import Field

from fusion.methods.base import ScoreConfig, ScoreMethod
from fusion.methods.voices import emphasised, heard
from fusion.normalizations.segments import FloatArray

__all__ = ["CombGMNZ", "CombGMNZConfig"]


class CombGMNZConfig(ScoreConfig):
    """Settings of `CombGMNZ`."""

    gamma: float = Field(
        1.0,
        allow_inf_nan=False,
        description="power of the number of models: 1 is CombMNZ, 0 CombSUM, -1 CombANZ",
    )


class CombGMNZ(ScoreMethod):
    """``n ** gamma * sum over models of weight * normalised score``, ``n`` models giving a score.

    A missing score adds nothing and is not counted; a model of weight 0 is not counted either.

    Source: Lee, "Analyses of Multiple Evidence Combination", SIGIR 1997, section 4. The weights are
    ours; all 1 gives the paper's.
    """

    Config = CombGMNZConfig
    monotone = True

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: ``n ** gamma * weight * worth``, 0 for NaN."""
        voices = heard(worth, weights)
        voices[voices == 0] = 1.0  # nothing to multiply, and 0 has no negative power
        return emphasised(worth, weights, voices**self.config.gamma)
