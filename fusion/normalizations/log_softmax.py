"""Log-softmax normalisation: the log probability of each candidate of the query."""

from __future__ import annotations

import numpy as np

from fusion.candidates import Candidates
from fusion.normalizations.rowwise import lists, rowwise
from fusion.normalizations.segments import FloatArray, sums
from fusion.normalizations.softmax import SoftmaxConfig, shifted
from fusion.protocols import Normalization

__all__ = ["LogSoftmax"]


class LogSoftmax(Normalization):
    """``s / T - log of the sum of exp(s / T)`` over a model's scores in the query.

    The logarithm of `Softmax`: a sum of models under it is a product of their probabilities (a
    product of experts). Scores far below the best keep their order. All are 0 or below, so under it
    a missing score that adds nothing stands *above* the model's best: let the policy say
    ``lowest``, as `WeightedSum` does for the models that were cut short. A list of ``n`` equal
    scores gives ``-log n`` each; one candidate gives 0.

    Source: Hinton, "Training Products of Experts by Minimizing Contrastive Divergence", Neural
    Computation 14(8), 2002, section 1; see `Softmax`.

    Example:
        >>> lists = Candidates.single(
        ...     "a", np.array([0, 2]), np.arange(2, dtype=np.int32), np.float32([0, np.log(3)])
        ... )
        >>> np.exp(LogSoftmax().normalize(lists)).ravel().round(6).tolist()
        [0.25, 0.75]
    """

    Config = SoftmaxConfig

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64, 0 or below, never infinite; NaN stays NaN."""
        scores, offsets = lists(candidates)
        out = shifted(scores, offsets, self.config.temperature)
        mass = sums(np.exp(out), offsets)  # at least 1, from the best; 0 without scores
        rowwise(np.subtract, out, np.log(np.maximum(mass, 1.0)), offsets, out)
        return out.reshape(len(candidates.models), len(candidates)).T
