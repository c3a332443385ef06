"""Logarithmic inverse square rank fusion."""

from __future__ import annotations

import numpy as np

from fusion.methods.isr import ISR
from fusion.normalizations.segments import FloatArray

__all__ = ["LogISR"]


class LogISR(ISR):
    """``log(n) * sum over models of weight / rank ** 2``, with ``n`` models giving a score.

    `ISR` in which more agreement counts less and less. An item that one model alone lists gets 0,
    wherever it stands there; `LogNISR` keeps such items apart.

    Source: Mourao, Martins and Magalhaes, "Multimodal medical information retrieval with
    unsupervised rank fusion", Computerized Medical Imaging and Graphics 39, 2015, section 3. The
    weights are ours; all 1 gives the paper's.
    """

    def emphasis(self, voices: FloatArray) -> FloatArray:
        """(N,) float64: ``log(n)``; 0 where nobody has a score."""
        logs: FloatArray = np.log(np.maximum(voices, 1.0))
        return logs
