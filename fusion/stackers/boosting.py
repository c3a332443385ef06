"""What the LightGBM stackers share: settings, features, SHAP, importance, files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.normalizations.segments import FloatArray
from fusion.stackers.base import Importance, Stacker, StackerConfig, Teaching, View
from fusion.stackers.features import Layout, tree_features
from fusion.stackers.folds import user_folds
from fusion.stackers.trees import Trees

__all__ = ["TreeConfig", "TreeStacker"]

#: teaching rows over which mean |SHAP| is taken: each costs as much as hundreds of scores
SHAP_ROWS = 2_000


class TreeConfig(StackerConfig):
    """Settings of every LightGBM stacker.

    The defaults are for little data (a few hundred to a few thousand teaching queries with a few
    hundred candidates each); ``docs/decisions/0006-stacker.md`` has what was measured.
    """

    num_leaves: int = Field(7, ge=2, description="leaves of a tree")
    learning_rate: float = Field(0.05, gt=0, le=1, description="shrinkage of each tree")
    n_estimators: int = Field(300, ge=1, description="at most so many trees")
    early_stopping: int = Field(
        30,
        ge=1,
        description="stop after so many trees without a better cross-validated NDCG@10; so many "
        "are fitted at least",
    )
    folds: int = Field(
        5, ge=0, description="folds over users that choose the number of trees; 0 or 1 = do not"
    )
    min_child_samples: int = Field(100, ge=1, description="candidates in a leaf, at least")
    reg_lambda: float = Field(10.0, ge=0, description="L2 on the leaves' values")
    feature_fraction: float = Field(0.8, gt=0, le=1, description="share of features a tree sees")
    raw_scores: bool = Field(
        False, description="trees also see the models' scores as they are, not only per query"
    )
    monotone: bool = Field(True, description="a higher score of a model never lowers an item")
    num_threads: int = Field(0, ge=0, description="threads; 0 = all")


class TreeStacker(Stacker):
    """Boosted trees over `tree_features`; a subclass says by which objective."""

    Config = TreeConfig
    #: LightGBM's parameters that make the stacker what it is
    objective: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._trees: Trees | None = None
        self._importance: Importance = {}

    @property
    def trees(self) -> Trees:
        """What was learnt.

        Raises:
            NotFittedError: nothing was.
        """
        if self._trees is None:
            raise self.not_fitted()
        return self._trees

    def features(self, view: View) -> tuple[npt.NDArray[np.float32], Layout]:
        """(N, F) float32, and what the columns are."""
        return tree_features(view, raw_scores=self.config.raw_scores)

    def learn(self, teaching: Teaching, rng: np.random.Generator) -> FloatArray:
        """Grow the trees; the number of them is chosen by NDCG@10 over folds of users."""
        config, offsets = self.config, teaching.offsets
        features, layout = teaching.rows(self.features)
        params = {**self._params, "seed": int(rng.integers(2**31))}
        if config.monotone:
            params["monotone_constraints"] = list(layout.directions)
        self._trees = Trees.fit(
            features,
            teaching.targets,
            np.diff(offsets),
            params,
            rounds=config.n_estimators,
            patience=config.early_stopping,
            folds=list(user_folds(teaching.users, offsets, config.folds, rng)),
        )
        sample = np.linspace(0, len(features) - 1, min(len(features), SHAP_ROWS)).astype(np.int64)
        shap = np.abs(self._trees.contributions(features[sample])[:, :-1]).mean(axis=0)
        self._importance = {
            "gain": _named(layout, self._trees.gains),
            "mean_abs_shap": _named(layout, shap),
        }
        return self._trees.scores(features)

    @property
    def _params(self) -> dict[str, Any]:
        config = self.config
        return {
            **self.objective,
            "metric": "ndcg",
            "eval_at": [10],
            "num_leaves": config.num_leaves,
            "learning_rate": config.learning_rate,
            "min_data_in_leaf": config.min_child_samples,
            "lambda_l2": config.reg_lambda,
            "feature_fraction": config.feature_fraction,
            "num_threads": config.num_threads,
            # the same trees from the same data, whatever the number of threads
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def scores(self, view: View) -> FloatArray:
        """(N,) float64: the sum of the trees."""
        return self.trees.scores(self.features(view)[0])

    def contributions(self, view: View, rows: npt.NDArray[np.int64]) -> FloatArray:
        """(R, M + 2) float64: SHAP values, summed over each part's features."""
        features, layout = self.features(view)
        given = self.trees.contributions(features[rows])
        parts = self.parts(view)
        return np.column_stack([given[:, :-1] @ layout.shares(parts[:-1]), given[:, -1]])

    def importance(self) -> Importance:
        """``gain`` of the splits in learning, and ``mean_abs_shap`` over teaching rows."""
        return self._importance

    def state(self) -> dict[str, Any]:
        """What the text of the trees does not hold."""
        return {"importance": {kind: dict(own) for kind, own in self._importance.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._importance = state["importance"]

    def save(self, folder: Path) -> None:
        """``stacker.json``, and LightGBM's own text in ``trees.txt``."""
        super().save(folder)
        (folder / "trees.txt").write_text(self.trees.text, "utf-8")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; its bytes must have been checked before (LightGBM does not)."""
        super().load(folder)
        self._trees = Trees.from_text((folder / "trees.txt").read_text("utf-8"))


def _named(layout: Layout, values: FloatArray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(layout.names, values, strict=True)}
