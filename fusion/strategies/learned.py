"""Learned fusion: a stacker over out-of-window scores."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from fusion.artifacts import read_json, write_json
from fusion.candidates import Candidates
from fusion.errors import DataError, NotFittedError, explain
from fusion.methods.total import total
from fusion.normalizations.segments import FloatArray, sums
from fusion.protocols import ComponentConfig, FitContext, Fused, Pool, Strategy, Windows
from fusion.queries import Queries
from fusion.ragged import segment_rank
from fusion.strategies.features import CONTEXT, linear_features, query_ages, tree_features
from fusion.strategies.leaks import refuse_leaks
from fusion.strategies.linear import Linear
from fusion.strategies.merging import known_models, unique_models
from fusion.strategies.parallel import Parallel
from fusion.strategies.trees import Trees, user_folds

__all__ = ["Learned", "LearnedConfig"]

log = logging.getLogger(__name__)

BASELINE = "baseline"


class LearnedConfig(ComponentConfig):
    """Settings of `Learned`.

    The defaults are for little data (a few hundred to a few thousand teaching queries with a few
    hundred candidates each); ``docs/decisions/0006-stacker.md`` has what was measured.
    """

    models: tuple[str, ...] | None = Field(None, description="the models to stack; null = all")
    blend: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the linear model in the score; 0 = trees alone, 1 = linear alone",
    )
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
    reg: float = Field(10.0, gt=0, description="L2 on the linear model's coefficients")
    negatives: int | None = Field(
        None, ge=1, description="learn from so many random other candidates a query; null = all"
    )
    hide_age: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="share of teaching queries that do not tell the age of their last event, so "
        "that there is a learnt answer where no time is known",
    )
    min_queries: int = Field(
        20, ge=2, description="fewer queries with their target among the candidates are too few"
    )
    too_few: Literal["rrf", "error"] = Field(
        "rrf", description="what then: reciprocal rank fusion with a warning, or an error"
    )
    num_threads: int = Field(0, ge=0, description="threads; 0 = all")

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if self.models is not None:
            unique_models(self.models)
        return self


@dataclass(frozen=True)
class _State:
    """What was learnt.

    Attributes:
        models: the columns, in this order.
        queries: how many queries taught.
        trees: ``None`` after a fallback, likewise `linear`.
        linear: see `trees`.
        scales: standard deviation inside a query of the trees' and of the linear scores.
    """

    models: tuple[str, ...]
    queries: int
    trees: Trees | None = None
    linear: Linear | None = None
    scales: tuple[float, float] = (1.0, 1.0)


class Learned(Strategy):
    """Learns from held-back events how far to believe whom.

    ``score = (1 - blend) * trees / sd(trees) + blend * linear / sd(linear)``, where ``trees`` is
    LambdaMART over `tree_features`, ``linear`` a conditional logit over `linear_features`, and each
    ``sd`` that of the scores inside a query, on average over the teaching queries.

    Inputs: the completed columns of `models`; item popularity; history lengths and times.
    Requirements: `fit` on a window whose columns come from models fitted on the window's past, and
    on nothing else; a query teaches if its target is among its candidates (targets are never
    added: at serving nobody adds them). With fewer than ``min_queries`` of those it falls back to
    reciprocal rank fusion and says so (`fallback`), or refuses, as ``too_few`` says.
    Relations: with ``blend: 1`` a weighted sum of z-scores and log ranks whose weights are learnt.

    Contributions: each model's name for its own features, ``"context"`` for the features of item
    and query, ``"baseline"`` for the expected score. The trees' are SHAP values, the linear
    model's are exact; both are sums, so their blend is one.
    """

    Config = LearnedConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._state: _State | None = None

    @property
    def learns(self) -> bool:
        """Always."""
        return True

    @property
    def fallback(self) -> bool:
        """Whether there was too little to learn from and reciprocal rank fusion stands in."""
        return self._fitted.trees is None and self._fitted.linear is None

    @property
    def _fitted(self) -> _State:
        if self._state is None:
            raise NotFittedError(
                explain(f"fusion {self.name}", "a fitted stacker", "none", "call fit first")
            )
        return self._state

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """The configured models, or all.

        Raises:
            ConfigError: one of them is not there.
        """
        asked = models if self.config.models is None else self.config.models
        return known_models(f"fusion {self.name}", asked, models)

    def fit(self, windows: Windows, context: FitContext) -> None:
        """Learn from ``windows``.

        Raises:
            LeakageError: a column's model was not fitted on exactly the window's past.
            DataError: too few queries teach, and ``too_few`` is ``error``.
        """
        window = windows[-1]
        models = self.uses(window.pool.models)
        refuse_leaks(f"fusion {self.name}", models, window)
        union = window.pool.candidates()
        teaches = sums(window.labels(union), union.offsets) > 0
        which = np.flatnonzero(teaches)
        if len(which) < self.config.min_queries:
            self._fall_back(models, len(which), union.n_queries)
            return
        # nobody is asked about queries that do not teach
        asked = window.pool.complete(union.where(teaches[union.rows]), models)
        self._state = self._learn(
            asked.take(which),
            window.pool.queries.take(which),
            window.targets[which],
            window.pool.popularity,
            context.rng(f"fusion {self.name}"),
        )

    def _fall_back(self, models: tuple[str, ...], teaching: int, queries: int) -> None:
        message = explain(
            f"fusion {self.name}",
            f"at least {self.config.min_queries} queries with their target among the candidates",
            f"{teaching} of {queries}",
            "hold back more events, raise the retrievers' `n`, or use mode: parallel",
        )
        if self.config.too_few == "error":
            raise DataError(message)
        log.warning("%s; until then it is reciprocal rank fusion", message)
        self._state = _State(models, teaching)

    def _learn(
        self,
        candidates: Candidates,
        queries: Queries,
        targets: npt.NDArray[np.int32],
        popularity: FloatArray,
        rng: np.random.Generator,
    ) -> _State:
        config = self.config
        labels = (candidates.items == targets[candidates.rows]).astype(np.float32)
        ages = query_ages(queries)
        ages[rng.random(len(ages)) < config.hide_age] = np.nan
        keep = _sample(labels, candidates.offsets, config.negatives, rng)
        taught = candidates.where(keep)  # the features are still those among all candidates
        offsets, labels = taught.offsets, labels[keep]
        trees, linear, scales = None, None, [1.0, 1.0]
        if config.blend < 1:
            features, layout = tree_features(
                candidates, queries, popularity, ages, raw_scores=config.raw_scores
            )
            features = features[keep]
            params = {**self._params, "seed": int(rng.integers(2**31))}
            if config.monotone:
                params["monotone_constraints"] = list(layout.directions)
            trees = Trees.fit(
                features,
                labels,
                taught.lengths,
                params,
                rounds=config.n_estimators,
                patience=config.early_stopping,
                folds=list(user_folds(queries.users, offsets, config.folds, rng)),
            )
            scales[0] = _spread(trees.scores(features), offsets)
        if config.blend > 0:
            features, layout = linear_features(candidates, popularity)
            features = features[keep]
            directions = layout.directions if config.monotone else (0,) * features.shape[1]
            linear = Linear.fit(features, labels, offsets, directions, config.reg)
            scales[1] = _spread(total(linear.contributions(features)), offsets)
        log.info("fusion %s: learnt from %d queries", self.name, candidates.n_queries)
        return _State(
            candidates.models, candidates.n_queries, trees, linear, (scales[0], scales[1])
        )

    @property
    def _params(self) -> dict[str, Any]:
        config = self.config
        return {
            "objective": "lambdarank",
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

    def fuse(self, pool: Pool) -> Fused:
        """Judge every candidate.

        Raises:
            NotFittedError: nothing was learnt, or from other models than the pool's.
        """
        state, models = self._fitted, self.uses(pool.models)
        if state.models != models:
            raise NotFittedError(
                explain(
                    f"fusion {self.name}",
                    f"the models it learnt from, {', '.join(state.models)}",
                    ", ".join(models),
                    "fit it again",
                )
            )
        if self.fallback:
            return Parallel({"models": models}, name=self.name).fuse(pool)
        candidates = pool.complete(pool.candidates(), models)
        parts = (*models, CONTEXT, BASELINE)
        contributions = np.zeros((len(candidates), len(parts)))
        scores = np.zeros(len(candidates))
        if state.trees is not None:
            features, layout = tree_features(
                candidates,
                pool.queries,
                pool.popularity,
                raw_scores=self.config.raw_scores,
            )
            share = (1 - self.config.blend) / state.scales[0]
            given = state.trees.contributions(features) * share
            contributions[:, :-1] += given[:, :-1] @ layout.shares(parts[:-1])
            contributions[:, -1] += given[:, -1]
            scores += state.trees.scores(features) * share
        if state.linear is not None:
            features, layout = linear_features(candidates, pool.popularity)
            given = state.linear.contributions(features) * (self.config.blend / state.scales[1])
            contributions[:, :-1] += given @ layout.shares(parts[:-1])
            scores += total(given)
        return Fused.of(candidates, scores, parts, contributions)

    def save(self, folder: Path) -> None:
        """``stacker.json``, and LightGBM's own text in ``trees.txt`` where there are trees."""
        state = self._fitted
        if state.trees is not None:
            (folder / "trees.txt").write_text(state.trees.text, "utf-8")
        linear = state.linear
        write_json(
            folder / "stacker.json",
            {
                "models": list(state.models),
                "queries": state.queries,
                "scales": list(state.scales),
                "trees": state.trees is not None,
                "linear": None
                if linear is None
                else {
                    "coefficients": linear.coefficients.tolist(),
                    "mean": linear.mean.tolist(),
                },
            },
        )

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; its bytes must have been checked before (LightGBM does not)."""
        saved = read_json(folder / "stacker.json")
        trees, linear = None, None
        if saved["trees"]:
            trees = Trees.from_text((folder / "trees.txt").read_text("utf-8"))
        if saved["linear"] is not None:
            linear = Linear(
                np.array(saved["linear"]["coefficients"], np.float64),
                np.array(saved["linear"]["mean"], np.float64),
            )
        trees_scale, linear_scale = saved["scales"]
        self._state = _State(
            tuple(saved["models"]), saved["queries"], trees, linear, (trees_scale, linear_scale)
        )


def _spread(scores: FloatArray, offsets: npt.NDArray[np.int64]) -> float:
    """Standard deviation of ``scores`` (N,) around their query's mean; 1 if all are equal."""
    lengths = np.diff(offsets)
    mean = np.repeat(sums(scores, offsets) / np.maximum(lengths, 1), lengths)
    spread = float(np.sqrt(np.mean(np.square(scores - mean))))
    return spread if spread > 0 else 1.0


def _sample(
    labels: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    negatives: int | None,
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """(N,) bool: the targets, and ``negatives`` random other rows of each query (``None``: all)."""
    if negatives is None:
        return np.ones(len(labels), bool)
    _, place = segment_rank(offsets, (np.where(labels > 0, -1.0, rng.random(len(labels))),))
    return place <= negatives + 1
