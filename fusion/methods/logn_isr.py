"""Logarithmic inverse square rank fusion that also orders what one model alone lists."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fusion.methods.base import MethodConfig
from fusion.methods.isr import ISR
from fusion.normalizations.segments import FloatArray

__all__ = ["LogNISR", "LogNISRConfig"]


class LogNISRConfig(MethodConfig):
    """Settings of `LogNISR`."""

    sigma: float = Field(
        0.01,
        gt=0,
        allow_inf_nan=False,
        description="added to the number of models, so that the word of a single one is worth "
        "more than 0; 0.01 as in ranx",
    )


class LogNISR(ISR):
    """``log(n + sigma) * sum over models of weight / rank ** 2``, ``n`` models giving a score.

    `fusion.methods.log_isr.LogISR` for lists that overlap little.

    Source: Mourao, Martins and Magalhaes, "Multimodal medical information retrieval with
    unsupervised rank fusion", Computerized Medical Imaging and Graphics 39, 2015, section 3. The
    weights are ours; all 1 gives the paper's.
    """

    Config = LogNISRConfig

    def emphasis(self, voices: FloatArray) -> FloatArray:
        """(N,) float64: ``log(n + sigma)``; anything where nobody has a score."""
        logs: FloatArray = np.log(np.maximum(voices, 1.0) + self.config.sigma)
        return logs
