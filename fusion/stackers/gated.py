"""A small gated mixture: how far each model is believed depends on the query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.methods.total import total
from fusion.normalizations.segments import FloatArray
from fusion.stackers.base import Importance, Stacker, StackerConfig, Teaching, View
from fusion.stackers.conditional_logit import choice_shares
from fusion.stackers.filling import z_scores
from fusion.stackers.gate_features import GATE_FEATURES, gate_features

__all__ = ["Gate", "Gated", "GatedConfig", "gate_loss"]

#: standardised features of a gate are cut here: an odd query may not decide alone
LIMIT = 3.0


class GatedConfig(StackerConfig):
    """Settings of `Gated`."""

    reg: float = Field(
        10.0,
        gt=0,
        description="L2 on the gate: the higher, the nearer all queries' weights are to the same, "
        "ungated ones",
    )
    reg_weights: float = Field(
        1.0, gt=0, description="L2 on the ungated weights: towards equal ones, and scale 1"
    )


@dataclass(frozen=True)
class Gate:
    """What was learnt.

    Attributes:
        scale: log of the factor before the whole score.
        bias: (M,) float64; its softmax are the ungated weights.
        coefficients: (M, F) float64, of the standardised features of `gate_features`.
        mean: (M, F) float64, of the features over the teaching rows.
        deviation: (M, F) float64; infinite where a feature was constant.
    """

    scale: float
    bias: FloatArray
    coefficients: FloatArray
    mean: FloatArray
    deviation: FloatArray

    def weights(self, features: FloatArray) -> FloatArray:
        """(N, M) float64, above 0, a row sums to 1, from features (N, M, F)."""
        return _softmax(self.bias + _given(self.standard(features), self.coefficients))

    def standard(self, features: FloatArray) -> FloatArray:
        """(N, M, F) float64: standardised and cut."""
        found: FloatArray = np.clip((features - self.mean) / self.deviation, -LIMIT, LIMIT)
        return found


class Gated(Stacker):
    """``score = exp(scale) * sum of w[m] * z[m]`` with ``w = softmax(bias + gate @ features)``.

    Learnt by maximising the likelihood that each query chose its target among its candidates (a
    conditional logit), less ``reg / 2`` times the squared coefficients of the gate: with little to
    learn from, every query has the ungated weights. Weights are above 0, and a row's own scores do
    not enter its weights (`fusion.stackers.gate_features`), so a higher score never lowers an item.

    Source: Jacobs, Jordan, Nowlan and Hinton, "Adaptive Mixtures of Local Experts", Neural
    Computation 3(1), 1991 (a softmax gate over experts), here over fixed experts; the likelihood is
    McFadden's, see `fusion.stackers.conditional_logit`.

    Inputs: z-scores in the query without gaps; history, age, and the columns' own agreement.
    Requirements: one target a query.
    Relations: with a very high ``reg`` one weight a model, as
    `fusion.methods.weighted_sum` over z-scores with learnt weights.

    Example, in YAML::

        fusion: {mode: learned, stacker: {name: gated, reg: 30}}
    """

    Config = GatedConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._gate: Gate | None = None
        self._importance: Importance = {}

    @property
    def gate(self) -> Gate:
        """What was learnt.

        Raises:
            NotFittedError: nothing was.
        """
        if self._gate is None:
            raise self.not_fitted()
        return self._gate

    def learn(self, teaching: Teaching, rng: np.random.Generator) -> FloatArray:
        """By L-BFGS from equal weights; no seed."""
        from scipy.optimize import minimize

        z, models = teaching.rows(
            lambda view: (z_scores(view.candidates, view.fill), view.candidates.models)
        )
        features, _ = teaching.rows(lambda view: (gate_features(view), None))
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        deviation = np.where(deviation <= 1e-9 * (1 + np.abs(mean)), np.inf, deviation)
        n, shape = len(models), mean.shape
        blank = Gate(0.0, np.zeros(n), np.zeros(shape), mean, deviation)
        x = blank.standard(features)
        labels, offsets = teaching.targets, teaching.offsets
        reg, reg_weights = self.config.reg, self.config.reg_weights

        def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
            return gate_loss(parameters, z, x, labels, offsets, reg, reg_weights)

        found = minimize(
            loss, np.zeros(1 + n + x[0].size), jac=True, method="L-BFGS-B", options={"maxiter": 500}
        ).x
        self._gate = Gate(
            float(found[0]), found[1 : 1 + n], found[1 + n :].reshape(shape), mean, deviation
        )
        weights = self._gate.weights(features)
        self._importance = {
            "weight": {m: float(w) for m, w in zip(models, weights.mean(axis=0), strict=True)},
            "weight_sd": {m: float(w) for m, w in zip(models, weights.std(axis=0), strict=True)},
            "gate": {
                f"{model}.{feature}": float(abs(value))
                for model, row in zip(models, self._gate.coefficients, strict=True)
                for feature, value in zip(GATE_FEATURES, row, strict=True)
            },
        }
        return total(weights * z * np.exp(self._gate.scale))

    def weights(self, view: View) -> FloatArray:
        """(N, M) float64: how far each model is believed; a row sums to 1."""
        return self.gate.weights(gate_features(view))

    def scores(self, view: View) -> FloatArray:
        """(N,) float64."""
        return total(self.contributions(view, np.arange(len(view.candidates))))

    def contributions(self, view: View, rows: npt.NDArray[np.int64]) -> FloatArray:
        """(R, M + 2) float64: each model's weight in the query times its z-score."""
        given = self.weights(view)[rows] * z_scores(view.candidates, view.fill)[rows]
        given *= np.exp(self.gate.scale)
        return np.column_stack([given, np.zeros((len(rows), 2))])

    def importance(self) -> Importance:
        """``weight`` and ``weight_sd`` over teaching rows; ``gate``: |standardised coefficient|."""
        return self._importance

    def state(self) -> dict[str, Any]:
        """The gate and the importance."""
        gate = self.gate
        return {
            "scale": gate.scale,
            "bias": gate.bias.tolist(),
            "coefficients": gate.coefficients.tolist(),
            "mean": gate.mean.tolist(),
            "deviation": [[None if np.isinf(v) else v for v in row] for row in gate.deviation],
            "importance": {kind: dict(own) for kind, own in self._importance.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        deviation = [[np.inf if v is None else v for v in row] for row in state["deviation"]]
        bias, coefficients, mean = (
            np.array(state[key], np.float64) for key in ("bias", "coefficients", "mean")
        )
        self._gate = Gate(state["scale"], bias, coefficients, mean, np.array(deviation, np.float64))
        self._importance = state["importance"]


def gate_loss(
    parameters: FloatArray,
    z: FloatArray,
    x: FloatArray,
    labels: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    reg: float,
    reg_weights: float,
) -> tuple[float, FloatArray]:
    """What `Gated` minimises, and its gradient.

    Args:
        parameters: (1 + M + M F,): scale, bias, coefficients.
        z: (N, M) the models' z-scores.
        x: (N, M, F) standardised features.
        labels: (N,) above 0 for the one target of each query.
        offsets: (Q+1,); no query is empty.
        reg: L2 on the coefficients.
        reg_weights: L2 on scale and bias.
    """
    n = z.shape[1]
    scale, bias = parameters[0], parameters[1 : 1 + n]
    coefficients = parameters[1 + n :].reshape(x.shape[1:])
    weights = _softmax(bias + _given(x, coefficients))
    mixed = np.einsum("nm,nm->n", weights, z)
    factor = np.exp(np.minimum(scale, 50.0))
    scores = factor * mixed
    share = choice_shares(scores, offsets)
    hit = labels > 0
    value = -np.log(np.maximum(share[hit], 1e-300)).sum()
    value += reg / 2 * np.square(coefficients).sum()
    value += reg_weights / 2 * (scale**2 + bias @ bias)
    wrong = share - hit  # d value / d score
    inner = (wrong * factor)[:, None] * weights * (z - mixed[:, None])  # d value / d logit
    gradient = np.concatenate(
        [
            [wrong @ scores + reg_weights * scale],
            inner.sum(axis=0) + reg_weights * bias,
            (np.einsum("nm,nmf->mf", inner, x) + reg * coefficients).ravel(),
        ]
    )
    return float(value), gradient


def _given(x: FloatArray, coefficients: FloatArray) -> FloatArray:
    found: FloatArray = np.einsum("nmf,mf->nm", x, coefficients)
    return found


def _softmax(logits: FloatArray) -> FloatArray:
    mass = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: FloatArray = mass / mass.sum(axis=1, keepdims=True)
    return found
