"""What a stacker is: it learns from labelled candidates, and gives scores that it can explain.

A stacker never sees a pool, a model or a window: `fusion.strategies.learned.Learned` asks the
models, refuses leaks, and hands over plain columns. So a new stacker is one file with `learn`,
`scores` and `contributions`, registered under ``recfusion.stackers``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import read_json, write_json
from fusion.candidates import Candidates, Missing
from fusion.errors import NotFittedError, explain
from fusion.missing import MissingPolicy
from fusion.protocols import Component, ComponentConfig
from fusion.queries import Queries
from fusion.ragged import segment_rank

__all__ = ["BASELINE", "CONTEXT", "Fill", "Stacker", "StackerConfig", "Teaching", "View"]

FloatArray = npt.NDArray[np.float64]
Importance = Mapping[str, Mapping[str, float]]
T = TypeVar("T")

#: the part of a score that no single model gave: features of the item and of the query
CONTEXT = "context"
#: the part of a score that every row has
BASELINE = "baseline"


@dataclass(frozen=True)
class Fill:
    """What stands for a missing score.

    Attributes:
        policy: a rule for each reason.
        priors: for the rule ``prior``: scale (``"min_max"``, ``"z_score"``) -> reason -> (M,)
            float64, the worth on that scale; see `fusion.stackers.filling`.
    """

    policy: MissingPolicy = field(default_factory=MissingPolicy)
    priors: Mapping[str, Mapping[Missing, FloatArray]] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """What a stacker sees of a batch of ``Q`` queries.

    Attributes:
        candidates: ``N`` rows, one column for each of ``M`` models.
        queries: the same ``Q`` queries.
        popularity: (I,) float64, see `fusion.protocols.Pool`: of this batch's models.
        ages: (Q,) float64, days since the newest event; NaN = unknown.
        fill: what stands for missing scores.
    """

    candidates: Candidates
    queries: Queries
    popularity: FloatArray
    ages: FloatArray
    fill: Fill = field(default_factory=Fill)

    def take(self, queries: npt.NDArray[np.integer]) -> View:
        """The queries ``queries`` (K,) only."""
        return replace(
            self,
            candidates=self.candidates.take(queries),
            queries=self.queries.take(queries),
            ages=self.ages[queries],
        )


@dataclass(frozen=True)
class Teaching:
    """Labelled candidates of one or more windows in time, the oldest first.

    Each window is a view of its own, since its models and its popularity are; what a stacker makes
    of a view's rows is put end to end.

    Attributes:
        views: one a window, with the same models; every query has its target among its rows.
        labels: (N,) float32, of the rows of all views: 1 for the target, else 0. Integer grades
            above 1 are for stackers that say so.
        keep: (N,) bool, the rows to learn from; the others still count in ranks and scales.
    """

    views: tuple[View, ...]
    labels: npt.NDArray[np.float32]
    keep: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, views: tuple[View, ...], labels: npt.NDArray[np.float32]) -> Teaching:
        """Every row teaches."""
        return cls(views, labels, np.ones(len(labels), bool))

    @property
    def models(self) -> tuple[str, ...]:
        """The ``M`` columns."""
        return self.views[0].candidates.models

    @property
    def users(self) -> npt.NDArray[np.int32]:
        """(Q,) int32 user_index of every query, so that folds split no user."""
        return np.concatenate([view.queries.users for view in self.views])

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(Q+1,) int64, of the rows to learn from."""
        kept = np.concatenate([[0], np.cumsum(self.keep)]).astype(np.int64)
        return kept[self._all_offsets]

    @property
    def _all_offsets(self) -> npt.NDArray[np.int64]:
        lengths = np.concatenate([view.candidates.lengths for view in self.views])
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @property
    def targets(self) -> npt.NDArray[np.float32]:
        """(K,) float32: the labels of the rows to learn from."""
        return self.labels[self.keep]

    def rows(self, of: Callable[[View], tuple[npt.NDArray[Any], T]]) -> tuple[npt.NDArray[Any], T]:
        """(K, ...) what ``of`` makes of every view's rows, those to learn from, and its layout.

        Args:
            of: gives an array of (rows of the view, ...), and something that says what it holds,
                the same for every view.
        """
        found = [of(view) for view in self.views]
        matrix = found[0][0] if len(found) == 1 else np.concatenate([part for part, _ in found])
        return (matrix if self.keep.all() else matrix[self.keep]), found[0][1]

    def sampled(self, negatives: int | None, rng: np.random.Generator) -> Teaching:
        """Learn from the targets and ``negatives`` random other rows of each query only.

        Args:
            negatives: ``None``: from all, and nothing is drawn.
            rng: which.
        """
        if negatives is None:
            return self
        draw = np.where(self.labels > 0, -1.0, rng.random(len(self.labels)))
        _, place = segment_rank(self._all_offsets, (draw,))
        return replace(self, keep=self.keep & (place <= negatives + 1))


class StackerConfig(ComponentConfig):
    """What every built-in stacker has."""

    negatives: int | None = Field(
        None, ge=1, description="learn from so many random other candidates a query; null = all"
    )


class Stacker(Component, ABC):
    """Learns a score for each candidate from the columns of `View` and their labels.

    Promises of every stacker, held by ``tests/stackers/test_contract.py``: a higher score of a
    model never lowers the item's (unless ``monotone: false`` says so); the same seed gives the same
    scores, whatever the number of threads; scores are finite, whatever is missing or constant;
    contributions sum to scores; a query's scores depend on its own rows only.
    """

    Config = StackerConfig

    def fit(self, teaching: Teaching, rng: np.random.Generator) -> None:
        """Learn from ``teaching``, less the negatives that the config does without."""
        self.learn(teaching.sampled(getattr(self.config, "negatives", None), rng), rng)

    @abstractmethod
    def learn(self, teaching: Teaching, rng: np.random.Generator) -> FloatArray:
        """Learn, and forget what was learnt before.

        Returns:
            (K,) float64: the scores of the teaching rows.
        """

    @abstractmethod
    def scores(self, view: View) -> FloatArray:
        """(N,) float64, higher is better, never NaN nor infinite."""

    @abstractmethod
    def contributions(self, view: View, rows: npt.NDArray[np.int64]) -> FloatArray:
        """(R, M + 2) float64: what each model, `CONTEXT` and `BASELINE` give to the rows ``rows``.

        A row sums to its score. Asked only for the few rows that somebody looks at.
        """

    @abstractmethod
    def importance(self) -> Importance:
        """By which measure -> feature or model -> how much it matters, at least 0."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What was learnt, as JSON knows it."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""

    def save(self, folder: Path) -> None:
        """``stacker.json``; a stacker with a native format of its own adds its file."""
        write_json(folder / "stacker.json", self.state())

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; its bytes must have been checked before."""
        self.restore(read_json(folder / "stacker.json"))

    def not_fitted(self) -> NotFittedError:
        """The error to raise when asked before `fit`."""
        return NotFittedError(explain(f"stacker {self.name}", "a fitted one", "none", "fit it"))

    @staticmethod
    def parts(view: View) -> tuple[str, ...]:
        """(M + 2,) names of the contributions."""
        return (*view.candidates.models, CONTEXT, BASELINE)
