"""Greedy ensemble selection: add the model that helps most, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.methods.total import total
from fusion.normalizations.segments import FloatArray, sums
from fusion.stackers.base import Importance, Stacker, StackerConfig, Teaching, View
from fusion.stackers.filling import z_scores

__all__ = ["Greedy", "GreedyConfig", "Selection"]

Counts = tuple[int, ...]


class GreedyConfig(StackerConfig):
    """Settings of `Greedy`."""

    steps: int = Field(20, ge=1, description="models picked in a bag, with replacement, at most")
    initial: int = Field(
        1, ge=1, description="start from so many best single models (sorted initialisation)"
    )
    bags: int = Field(10, ge=1, description="selections whose counts are added up; 1 = no bagging")
    bag_models: float = Field(1.0, gt=0, le=1, description="share of the models a bag picks from")
    bag_queries: bool = Field(
        True, description="each bag judges by teaching queries drawn with replacement"
    )
    k: int = Field(10, ge=1, description="selection is by NDCG at this length")


class Greedy(Stacker):
    """``score = sum of counts[m] * z[m] / sum of counts``: weights are how often each was picked.

    In each bag: start from the ``initial`` best single models; ``steps`` times, add the model (one
    that is in already may be added again) whose addition gives the highest mean NDCG@k; keep the
    prefix that was best. Counts of all bags are added up.

    Source: Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of
    Models", ICML 2004: section 2.1 selection with replacement, 2.2 sorted initialisation, 2.3
    bagged selection. There a bag is a random half of some thousand models. With the handful of
    models of an engine a bag would only vote for whoever is left in it, so by default every bag has
    all the models and draws its queries by bootstrap instead (``bag_models``, ``bag_queries``).

    Inputs: z-scores in the query, without gaps (`fusion.stackers.filling.z_scores`).
    Relations: `fusion.methods.weighted_sum` over z-scores, whose weights are chosen by NDCG itself.
    Ties between models go to the first by name, so the order of the columns does not matter.
    """

    Config = GreedyConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._counts: dict[str, int] = {}

    def learn(self, teaching: Teaching, rng: np.random.Generator) -> FloatArray:
        """Select by NDCG on the teaching queries."""
        config, models = self.config, sorted(teaching.models)
        columns, items = teaching.rows(
            lambda view: (z_scores(view.candidates, view.fill), view.candidates.models)
        )
        order = [items.index(model) for model in models]
        numbers, _ = teaching.rows(lambda view: (view.candidates.items, None))
        selection = Selection(
            columns[:, order], numbers, teaching.targets, teaching.offsets, config.k
        )
        picked = np.zeros(len(models), np.int64)
        n = selection.n_queries
        for _ in range(config.bags):
            multiple, allowed = np.ones(n), np.arange(len(models))
            if config.bag_queries and config.bags > 1:
                multiple = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
            size = int(np.ceil(config.bag_models * len(models)))
            if size < len(models):
                allowed = np.sort(rng.permutation(len(models))[:size])
            picked += selection.run(allowed, multiple, config.initial, config.steps)
        self._counts = dict(zip(models, picked.tolist(), strict=True))
        return total(columns[:, order] * (picked / picked.sum()))

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each model was picked.

        Raises:
            NotFittedError: nothing was learnt.
        """
        if not self._counts:
            raise self.not_fitted()
        return self._counts

    def scores(self, view: View) -> FloatArray:
        """(N,) float64."""
        return total(self.contributions(view, np.arange(len(view.candidates))))

    def contributions(self, view: View, rows: npt.NDArray[np.int64]) -> FloatArray:
        """(R, M + 2) float64: each model's share of the counts times its z-score."""
        counts = np.array([self.counts[model] for model in view.candidates.models], np.float64)
        given = z_scores(view.candidates, view.fill)[rows] * (counts / counts.sum())
        return np.column_stack([given, np.zeros((len(rows), 2))])

    def importance(self) -> Importance:
        """``weight``: each model's share of the counts."""
        every = sum(self.counts.values())
        return {"weight": {model: count / every for model, count in self.counts.items()}}

    def state(self) -> dict[str, Any]:
        """The counts."""
        return {"counts": dict(self.counts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._counts = {model: int(count) for model, count in state["counts"].items()}


class Selection:
    """NDCG of any counts of models, each computed once.

    Args:
        columns: (N, M) float64, one model's worths a column, no NaN.
        items: (N,) item_index; equal scores are ordered by it.
        labels: (N,) above 0 for the one target of each query.
        offsets: (Q+1,); no query is empty.
        k: cut-off of NDCG.
    """

    def __init__(
        self,
        columns: FloatArray,
        items: npt.NDArray[np.int32],
        labels: npt.NDArray[np.float32],
        offsets: npt.NDArray[np.int64],
        k: int,
    ) -> None:
        target = np.repeat(np.flatnonzero(labels > 0), np.diff(offsets))
        # all that a rank needs: how far each row is ahead of its query's target
        self._ahead = np.ascontiguousarray((columns - columns[target]).T)  # (M, N)
        self._before = items < items[target]
        self._offsets, self._k = offsets, k
        self._known: dict[Counts, FloatArray] = {}

    @property
    def n_queries(self) -> int:
        """Q."""
        return len(self._offsets) - 1

    def ndcg(self, counts: Counts) -> FloatArray:
        """(Q,) float64: NDCG@k of the sum of the columns, each taken so many times."""
        if counts not in self._known:
            ahead = np.zeros(self._ahead.shape[1])
            for count, column in zip(counts, self._ahead, strict=True):
                if count:
                    ahead += count * column
            # multiples of one float may differ in the last bits where they should tie
            ahead[np.abs(ahead) < 1e-9 * sum(counts)] = 0.0
            better = (ahead > 0) | ((ahead == 0) & self._before)
            rank = sums(better, self._offsets) + 1
            self._known[counts] = np.where(rank <= self._k, 1 / np.log2(rank + 1), 0.0)
        return self._known[counts]

    def run(
        self, allowed: npt.NDArray[np.int64], multiple: FloatArray, initial: int, steps: int
    ) -> npt.NDArray[np.int64]:
        """(M,) int64: how often one bag picked each model.

        Args:
            allowed: the models that it may pick, rising.
            multiple: (Q,) how often each query counts.
            initial: start from so many best single models.
            steps: picks in all, the initial ones included.
        """
        n_models = len(self._ahead)

        def worth(counts: Counts) -> float:
            return float(self.ndcg(counts) @ multiple)

        def plus(counts: Counts, m: int) -> Counts:
            return (*counts[:m], counts[m] + 1, *counts[m + 1 :])

        none: Counts = (0,) * n_models
        alone = np.array([worth(plus(none, int(m))) for m in allowed])
        counts = none
        for m in allowed[np.argsort(-alone, kind="stable")][:initial]:
            counts = plus(counts, int(m))
        best, reached = counts, worth(counts)
        for _ in range(steps - sum(counts)):
            tried = [plus(counts, int(m)) for m in allowed]
            worths = [worth(each) for each in tried]
            at = int(np.argmax(worths))
            counts = tried[at]
            if worths[at] > reached + 1e-12:
                best, reached = counts, worths[at]
        return np.array(best, np.int64)
