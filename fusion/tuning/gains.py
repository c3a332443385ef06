"""A ranking metric from the rank of each query's one target, without building a list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.errors import ConfigError, explain
from fusion.evaluation.metrics import METRICS
from fusion.normalizations.segments import FloatArray

__all__ = ["TargetRows", "gains_of"]

_NAME = re.compile(r"(?P<metric>[A-Za-z]+)@(?P<k>[1-9][0-9]{0,4})")


def gains_of(metric: str) -> FloatArray:
    """(k + 2,) float64: what a target at each rank is worth; 0 at rank 0 (absent) and past k.

    >>> gains_of("NDCG@3").round(2).tolist()
    [0.0, 1.0, 0.63, 0.5, 0.0]

    Raises:
        ConfigError: no such metric, or no cutoff.
    """
    found = _NAME.fullmatch(metric)
    if found is None or found["metric"] not in METRICS:
        expected = f"a metric with its cutoff, like NDCG@10, out of {', '.join(METRICS)}"
        raise ConfigError(explain("metric", expected, repr(metric)))
    k = int(found["k"])
    # one list a rank, with its only target there
    gains = METRICS[found["metric"]](np.eye(k, dtype=bool), np.ones(k, np.int64), k)
    return np.concatenate([[0.0], gains, [0.0]])


@dataclass(frozen=True)
class TargetRows:
    """Where the targets of Q queries stand among the rows of their candidates.

    Attributes:
        candidates: the queries' rows; the columns are not looked at.
        targets: (Q,) item_index.
    """

    candidates: Candidates
    targets: npt.NDArray[np.int32]

    @cached_property
    def queries(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the query of each row."""
        return self.candidates.rows

    @cached_property
    def before(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: a row that stands before its query's target where their scores are equal."""
        return np.less(self.candidates.items, self.targets[self.queries])

    @cached_property
    def at(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the row of the query's target; -1 where it is not among the candidates."""
        rows = np.flatnonzero(self.candidates.items == self.targets[self.queries])
        own = np.full(self.candidates.n_queries, -1, np.int64)
        own[self.queries[rows]] = rows
        return own[self.queries]

    @cached_property
    def there(self) -> npt.NDArray[np.bool_]:
        """(N,) bool: whether the query of the row has its target among its candidates."""
        return np.greater_equal(self.at, 0)

    @cached_property
    def found(self) -> npt.NDArray[np.int64]:
        """(Q,) int64: 1 where the target is among the candidates, else 0."""
        out = np.zeros(self.candidates.n_queries, np.int64)
        out[self.queries[self.there]] = 1
        return out

    def ranks(self, scores: FloatArray) -> npt.NDArray[np.int64]:
        """(Q,) int64: each target's rank by ``scores`` (N,), from 1; 0 = not among the candidates.

        Equal scores are ordered by item index.
        """
        own = scores[self.at]
        ahead = ((scores > own) | ((scores == own) & self.before)) & self.there
        found = np.bincount(self.queries[ahead], minlength=len(self.found))
        ranks: npt.NDArray[np.int64] = self.found + found
        return ranks
