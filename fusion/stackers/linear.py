"""A linear stacker that learns from choices inside a query."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.stackers.base import Teaching
from fusion.stackers.conditional_logit import conditional_logit
from fusion.stackers.linear_model import Linear, LinearStacker

__all__ = ["ConditionalLogit"]


class ConditionalLogit(LinearStacker):
    """A weighted sum of z-scores, log ranks and popularity; the weights make the targets likely.

    Source and formula: `fusion.stackers.conditional_logit.conditional_logit`.

    Inputs: `fusion.stackers.features.linear_features`; one target a query.
    Relations: `fusion.methods.weighted_sum` with learnt weights, two columns a model. Half of
    `fusion.stackers.blend.Blend`.
    """

    def estimate(
        self,
        features: npt.NDArray[np.float32],
        teaching: Teaching,
        directions: tuple[int, ...],
    ) -> Linear:
        """By L-BFGS-B."""
        return conditional_logit(
            features, teaching.targets, teaching.offsets, directions, self.config.reg
        )
