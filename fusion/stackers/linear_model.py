"""A linear score: what the conditional logit and the logistic regression have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.methods.total import total
from fusion.normalizations.segments import FloatArray
from fusion.stackers.base import Importance, Stacker, StackerConfig, Teaching, View
from fusion.stackers.features import linear_features

__all__ = ["Linear", "LinearConfig", "LinearStacker", "bounds_of", "moments"]


@dataclass(frozen=True)
class Linear:
    """``score = baseline + coefficients @ (features - mean)``.

    Attributes:
        coefficients: (F,) float64, of the features as they are.
        mean: (F,) float64, of the features over the teaching rows: what a contribution is
            measured from.
        baseline: the score of a row at the mean.
    """

    coefficients: FloatArray
    mean: FloatArray
    baseline: float = 0.0

    def contributions(self, features: npt.NDArray[np.float32]) -> FloatArray:
        """(N, F) float64: what each feature gives; a row and the baseline sum to its score."""
        return (features - self.mean) * self.coefficients

    def scores(self, features: npt.NDArray[np.float32]) -> FloatArray:
        """(N,) float64."""
        return total(self.contributions(features)) + self.baseline


def moments(features: npt.NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """(F,) mean and (F,) standard deviation of the columns.

    The deviation of a column that is constant, up to rounding, is infinite: divided by it, the
    column says nothing.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    return mean, np.where(scale <= 1e-6 * np.abs(mean), np.inf, scale)


def bounds_of(directions: tuple[int, ...]) -> list[tuple[float | None, None]]:
    """For scipy: at least 0 where the direction is 1."""
    return [(0.0, None) if way > 0 else (None, None) for way in directions]


class LinearConfig(StackerConfig):
    """Settings of the linear stackers."""

    monotone: bool = Field(True, description="a higher score of a model never lowers an item")
    reg: float = Field(10.0, gt=0, description="L2 on the linear model's coefficients")


class LinearStacker(Stacker):
    """A linear model over `linear_features`; a subclass says how its coefficients are found."""

    Config = LinearConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._linear: Linear | None = None
        self._importance: Importance = {}

    @property
    def linear(self) -> Linear:
        """What was learnt.

        Raises:
            NotFittedError: nothing was.
        """
        if self._linear is None:
            raise self.not_fitted()
        return self._linear

    @abstractmethod
    def estimate(
        self,
        features: npt.NDArray[np.float32],
        teaching: Teaching,
        directions: tuple[int, ...],
    ) -> Linear:
        """Find the coefficients.

        Args:
            features: (K, F) of the teaching rows, no NaN.
            teaching: their labels and queries.
            directions: (F,) 1 where a coefficient must not be negative.
        """

    def learn(self, teaching: Teaching, rng: np.random.Generator) -> FloatArray:
        """Convex, so there is one optimum and no seed."""
        features, layout = teaching.rows(linear_features)
        directions = layout.directions if self.config.monotone else (0,) * len(layout.names)
        self._linear = self.estimate(features, teaching, directions)
        spread = features.std(axis=0, dtype=np.float64)
        weight = np.abs(self._linear.coefficients) * spread
        self._importance = {
            "coefficient_sd": {n: float(w) for n, w in zip(layout.names, weight, strict=True)}
        }
        return self._linear.scores(features)

    def scores(self, view: View) -> FloatArray:
        """(N,) float64."""
        return self.linear.scores(linear_features(view)[0])

    def contributions(self, view: View, rows: npt.NDArray[np.int64]) -> FloatArray:
        """(R, M + 2) float64: exact, each measured from the teaching rows' mean."""
        features, layout = linear_features(view)
        parts = self.parts(view)
        given = self.linear.contributions(features[rows]) @ layout.shares(parts[:-1])
        return np.column_stack([given, np.full(len(rows), self.linear.baseline)])

    def importance(self) -> Importance:
        """``coefficient_sd``: |coefficient| times the feature's standard deviation."""
        return self._importance

    def state(self) -> dict[str, Any]:
        """Coefficients, mean, baseline, importance."""
        return {
            "coefficients": self.linear.coefficients.tolist(),
            "mean": self.linear.mean.tolist(),
            "baseline": self.linear.baseline,
            "importance": {kind: dict(own) for kind, own in self._importance.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._linear = Linear(
            np.array(state["coefficients"], np.float64),
            np.array(state["mean"], np.float64),
            state["baseline"],
        )
        self._importance = state["importance"]
