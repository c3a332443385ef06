"""Boosted trees of LightGBM, by whatever objective, chosen by NDCG@10 over folds of users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray
from fusion.stackers.folds import Fold

__all__ = ["Trees"]


@dataclass(frozen=True)
class Trees:
    """Fitted trees.

    Attributes:
        booster: LightGBM's own.
        rounds: how many trees it has.
    """

    booster: Any
    rounds: int

    @classmethod
    def fit(
        cls,
        features: npt.NDArray[np.float32],
        labels: npt.NDArray[np.float32],
        lengths: npt.NDArray[np.int64],
        params: Mapping[str, Any],
        *,
        rounds: int,
        patience: int,
        folds: list[Fold],
    ) -> Trees:
        """Choose the number of trees by cross-validated NDCG@10, then fit on everything.

        Args:
            features: (N, F), NaN where unknown.
            labels: (N,) 1 for the target, else 0; or other integer grades.
            lengths: (Q,) rows of each query, in the order of the rows.
            params: LightGBM's.
            rounds: at most so many trees.
            patience: stop after so many trees without a better mean over the folds; so many are
                fitted at least.
            folds: (rows to learn from, rows to judge by); without any, ``rounds`` are fitted.
        """
        import lightgbm

        data = lightgbm.Dataset(features, labels, group=lengths, free_raw_data=False)
        if folds:
            stop = lightgbm.early_stopping(patience, verbose=False)
            curve = lightgbm.cv(
                dict(params), data, rounds, folds=folds, stratified=False, callbacks=[stop]
            )
            # the curve of few queries is noisy: its peak may stand at a handful of trees, whose
            # leaves leave most candidates tied; ``patience`` more trees did not change it much
            rounds = min(rounds, max(len(next(iter(curve.values()))), patience))
        booster = lightgbm.train(dict(params), data, rounds)
        return cls(booster, rounds)

    @classmethod
    def from_text(cls, text: str) -> Trees:
        """What `text` gave."""
        import lightgbm

        booster = lightgbm.Booster(model_str=text)
        return cls(booster, booster.num_trees())

    @property
    def text(self) -> str:
        """LightGBM's native format."""
        return str(self.booster.model_to_string())

    @property
    def gains(self) -> FloatArray:
        """(F,) float64: the loss that the splits on each feature saved in learning."""
        return np.asarray(self.booster.feature_importance("gain"), np.float64)

    def scores(self, features: npt.NDArray[np.float32]) -> FloatArray:
        """(N,) float64: the sum of the trees, before any link (of ``binary``: log-odds)."""
        if not len(features):
            return np.zeros(0)
        return np.asarray(self.booster.predict(features, raw_score=True), np.float64)

    def contributions(self, features: npt.NDArray[np.float32]) -> FloatArray:
        """(N, F + 1) float64: SHAP values, the expected score last; a row sums to its score.

        Source: Lundberg et al., "Consistent Individualized Feature Attribution for Tree
        Ensembles", 2018, as LightGBM computes them.
        """
        if not len(features):
            return np.zeros((0, features.shape[1] + 1))
        return np.asarray(self.booster.predict(features, pred_contrib=True), np.float64)
