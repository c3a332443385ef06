"""Softmax normalisation: a probability of each candidate of the query."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import lists, rowwise
from fusion.normalizations.segments import FloatArray, extremes, sums
from fusion.protocols import ComponentConfig, Normalization

__all__ = ["Softmax", "SoftmaxConfig", "shifted"]


class SoftmaxConfig(ComponentConfig):
    """Settings of `Softmax` and of `LogSoftmax`."""

    temperature: float = Field(
        1.0,
        ge=1e-9,
        le=1e9,
        description="what scores are divided by first: low sharpens, high evens out; in the "
        "scores' own unit",
    )


class Softmax(Normalization):
    """``exp(s / T) / sum of exp(s / T)`` over a model's scores in the query.

    For a model trained with a softmax loss, whose scores are logits: what it believes that each
    candidate is the one, given that one of them is. The unit of the scores matters (1 more is 2.7
    times as likely), so for other models tune ``T``. A list of ``n`` equal scores gives each
    ``1 / n``. Far below the best, a probability rounds to 0 and order is lost; `LogSoftmax` keeps
    it.

    Source: Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs",
    Neurocomputing, NATO ASI Series F 68, 1990; the temperature as in Guo, Pleiss, Sun and
    Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.

    Example:
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 2]), np.arange(2, dtype=np.int32), np.float32([0, np.log(3)])
        ... )
        >>> Softmax().normalize(lists).ravel().round(6).tolist()
        [0.25, 0.75]
    """

    Config = SoftmaxConfig

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in [0, 1], each model's summing to 1 in a query; NaN stays NaN."""
        scores, offsets = lists(candidates)
        out = shifted(scores, offsets, self.config.temperature)
        np.exp(out, out=out)
        mass = sums(out, offsets)  # at least 1, from the best; 0 without scores
        rowwise(np.divide, out, np.maximum(mass, 1.0), offsets, out)
        return out.reshape(len(candidates.models), len(candidates)).T


def shifted(
    scores: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64], temperature: float
) -> FloatArray:
    """(N,) float64: ``(s - max) / T`` of lists (see `lists`), 0 or below; NaN stays NaN.

    Taking the best off first changes no softmax, and lets no exponential overflow.
    """
    _, high = extremes(scores, offsets)
    out = np.empty(len(scores))
    rowwise(np.subtract, scores, high, offsets, out)
    out /= temperature
    return out
