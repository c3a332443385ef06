"""Inverse square rank fusion."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.methods.base import WorthMethod
from fusion.methods.voices import emphasised, heard
from fusion.normalizations.segments import FloatArray, ranks

__all__ = ["ISR"]


class ISR(WorthMethod):
    """``n * sum over models of weight / rank ** 2``, with ``n`` models giving a score.

    Steeper than RRF: the second place is worth a quarter of the first. A missing score adds nothing
    and is not counted; a model of weight 0 is not counted either.

    Source: Mourao, Martins and Magalhaes, "Multimodal medical information retrieval with
    unsupervised rank fusion", Computerized Medical Imaging and Graphics 39, 2015, section 3. The
    weights are ours; all 1 gives the paper's.
    """

    by_rank = True
    monotone = True

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64, each in (0, 1]."""
        place = ranks(candidates).T.astype(np.float64)
        np.multiply(place, place, out=place)
        return np.divide(1.0, place, out=place)

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64: ``emphasis(n) * weight * worth``, 0 for NaN."""
        return emphasised(worth, weights, self.emphasis(heard(worth, weights)))

    def emphasis(self, voices: FloatArray) -> FloatArray:
        """(N,) float64: how much the agreement of so many models counts."""
        return voices
