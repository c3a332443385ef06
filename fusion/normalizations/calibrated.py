"""Calibrated probabilities: how often a score was right, learnt out of window for each model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.candidates import Candidates
from fusion.errors import DataError, NotFittedError, explain
from fusion.normalizations.min_max import MinMax
from fusion.normalizations.none import NoNormalization
from fusion.normalizations.quantile import Quantile
from fusion.normalizations.segments import FloatArray
from fusion.normalizations.z_score import ZScore
from fusion.protocols import ComponentConfig, Normalization

__all__ = ["Calibrated", "CalibratedConfig", "Curve"]

#: what a calibration learns of one model: names to lists of numbers, as JSON knows them
Curve = dict[str, list[float]]

_SCALES: dict[str, type[Normalization]] = {
    "z_score": ZScore,
    "min_max": MinMax,
    "quantile": Quantile,
    "raw": NoNormalization,
}


class CalibratedConfig(ComponentConfig):
    """Settings of the calibrations."""

    scale: Literal["z_score", "min_max", "quantile", "raw"] = Field(
        "z_score",
        description="what scores are brought to before the curve: a per-query normalisation, which "
        "models fitted anew on more data keep, or `raw`, which they may not",
    )


class Calibrated(Normalization):
    """``P(the candidate is the target | the model's score)``, a curve that never falls.

    The curve of each model is fitted on out-of-window candidates and their labels, so every model
    speaks in one unit: how often it was right. The share of targets depends on how many candidates
    a query has; probabilities are of candidates such as those in the window.

    ``scale`` says what the curve is a function of. The models that gave the window's scores are
    not those that answer: these are fitted again, on more events. The sums of a co-occurrence model
    then grow, the logits of a network drift, and a curve over ``raw`` scores reads them in the old
    unit. After ``z_score``, the default, a score says how far it stands out among the candidates of
    its query, and no shift or stretch of a model's scale changes that. ``min_max`` and ``quantile``
    say less (the best is always 1); ``raw`` alone knows that a query is one where nothing fits, and
    is right for models whose scores keep their meaning, such as probabilities.

    Requirements: `fit`, with every model that is asked later. Rows without a score teach nothing. A
    model without any score in the window gets the overall share of targets, whatever it says later.

    Raises:
        NotFittedError: from `normalize`, before `fit` or for a model that `fit` did not see.
    """

    Config = CalibratedConfig

    def __init__(self, config: object = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)  # type: ignore[arg-type]
        self._scale = _SCALES[self.config.scale]()
        self._curves: dict[str, Curve] = {}

    @property
    def learns(self) -> bool:
        """True: `fit` must be called before use."""
        return True

    @abstractmethod
    def curve(self, values: FloatArray, labels: FloatArray) -> Curve:
        """What is learnt of one model, from the scaled scores that it gave.

        Args:
            values: (n,) float64 without NaN, at least one.
            labels: (n,) float64, 1 for a query's target, else 0.
        """

    @abstractmethod
    def probability(self, values: FloatArray, curve: Curve) -> FloatArray:
        """(N,) float64 in [0, 1] of scaled scores (N,), NaN where they are; never falling."""

    def fit(self, candidates: Candidates, labels: npt.NDArray[np.float32]) -> None:
        """Learn one curve a model from ``labels`` (N,), 1 for a query's target, else 0."""
        hits = np.asarray(labels, np.float64)
        if hits.shape != (len(candidates),) or not np.isin(hits, (0.0, 1.0)).all():
            got = f"an array of shape {hits.shape}, values from {hits.min(initial=0)} to "
            raise DataError(
                explain(
                    self.name,
                    f"a label of 0 or 1 for each of {len(candidates)} rows",
                    f"{got}{hits.max(initial=0)}",
                )
            )
        overall = float(hits.mean()) if len(hits) else 0.0
        curves = {}
        for model, column in zip(candidates.models, self._scaled(candidates), strict=True):
            scored = ~np.isnan(column)
            silent = not scored.any()
            curves[model] = (
                {"share": [overall]} if silent else self.curve(column[scored], hits[scored])
            )
        self._curves = curves

    def normalize(self, candidates: Candidates) -> FloatArray:
        """(N, M) float64 in [0, 1]; NaN stays NaN."""
        curves = [self._curve_of(model) for model in candidates.models]
        out = self._scaled(candidates)
        for column, curve in zip(out, curves, strict=True):
            if "share" in curve:
                np.copyto(column, curve["share"][0], where=~np.isnan(column))
            else:
                column[:] = self.probability(column, curve)
        return out.T

    def state(self) -> dict[str, Any]:
        """The curves by the models' names; their order does not matter."""
        return {"models": {model: dict(curve) for model, curve in self._curves.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._curves = {
            model: {key: [float(v) for v in values] for key, values in curve.items()}
            for model, curve in state["models"].items()
        }

    def _scaled(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64, new memory."""
        return np.ascontiguousarray(self._scale.normalize(candidates).T)

    def _curve_of(self, model: str) -> Curve:
        if model not in self._curves:
            known = ", ".join(self._curves) or "nothing"
            raise NotFittedError(
                explain(self.name, f"to be fitted on model {model!r}", known, "call fit first")
            )
        return self._curves[model]
