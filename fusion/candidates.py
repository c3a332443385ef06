"""The one type that flows: what several models say of each query's candidate items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from fusion.errors import DataError, explain
from fusion.ragged import IntArray, segment_rank, spans

__all__ = ["Candidates", "Missing", "Scores"]


class Missing(IntEnum):
    """Why a score is NaN; 0 where there is a score."""

    PRESENT = 0
    NOT_RETRIEVED = 1  # the model was not asked beyond its own list
    COLD = 2  # the model knows nothing of the item or of the user
    TIMED_OUT = 3  # the model was late
    FILTERED = 4  # the candidate did not reach the model's turn


@dataclass(frozen=True, slots=True)
class Scores:
    """One model's word on every row of some `Candidates`.

    Attributes:
        values: (N,) float32, higher is better, NaN = no score; never infinite.
        why: (N,) uint8, a `Missing` code, 0 exactly where ``values`` is a number.
    """

    values: npt.NDArray[np.float32]
    why: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, values: npt.ArrayLike, reason: Missing = Missing.COLD) -> Scores:
        """Scores whose every NaN has the same ``reason``."""
        column = np.asarray(values, dtype=np.float32)
        return cls(column, np.where(np.isnan(column), np.uint8(reason), np.uint8(0)))

    @classmethod
    def missing(cls, n: int, reason: Missing) -> Scores:
        """``n`` missing scores."""
        return cls(np.full(n, np.nan, np.float32), np.full(n, reason, np.uint8))


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate items of ``Q`` queries and the scores of ``M`` models, as columns.

    Attributes:
        offsets: (Q+1,) int64; query ``q`` owns the rows ``offsets[q]:offsets[q+1]``.
        items: (N,) int32 item_index, unique inside a query.
        scores: (N, M) float32, higher is better, NaN = no score (never 0), never infinite.
        models: the ``M`` column names, unique.
        why: (N, M) uint8, a `Missing` code; 0 exactly where ``scores`` is a number.

    Ranks start at 1, NaN sorts last, equal scores are ordered by item index.

    Raises:
        DataError: from `checked`, when the columns break one of these rules.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    models: tuple[str, ...]
    why: npt.NDArray[np.uint8]

    @classmethod
    def bare(cls, offsets: npt.NDArray[np.int64], items: npt.NDArray[np.int32]) -> Candidates:
        """Items without any score yet."""
        n = len(items)
        return cls(offsets, items, np.empty((n, 0), np.float32), (), np.empty((n, 0), np.uint8))

    @classmethod
    def single(
        cls,
        model: str,
        offsets: npt.NDArray[np.int64],
        items: npt.NDArray[np.int32],
        scores: npt.NDArray[np.float32],
    ) -> Candidates:
        """One model's lists, every score present."""
        return cls.bare(offsets, items).with_scores(model, Scores.of(scores))

    @property
    def n_queries(self) -> int:
        """Q."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(Q,) int64: candidates of each query."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """(N,) int64: the query that each row belongs to."""
        return np.repeat(np.arange(self.n_queries, dtype=np.int64), self.lengths)

    def column(self, model: str) -> npt.NDArray[np.float32]:
        """(N,) float32: the scores of one model."""
        return self.scores[:, self._position(model)]

    def _position(self, model: str) -> int:
        if model not in self.models:
            raise DataError(explain("Candidates", f"one of the models {self.models}", repr(model)))
        return self.models.index(model)

    def with_scores(self, model: str, scores: Scores) -> Candidates:
        """A copy with one more column; a column of that name is replaced in its place."""
        if len(scores.values) != len(self):
            raise DataError(
                explain(
                    f"model {model!r}",
                    f"{len(self)} scores, one a candidate",
                    str(len(scores.values)),
                )
            )
        if model in self.models:
            at = self.models.index(model)
            matrix, why = self.scores.copy(), self.why.copy()
            matrix[:, at], why[:, at] = scores.values, scores.why
            return replace(self, scores=matrix, why=why)
        return Candidates(
            self.offsets,
            self.items,
            np.column_stack([self.scores, scores.values]).astype(np.float32, copy=False),
            (*self.models, model),
            np.column_stack([self.why, scores.why]).astype(np.uint8, copy=False),
        )

    def only(self, models: Sequence[str]) -> Candidates:
        """The columns ``models``, in that order."""
        at = [self._position(model) for model in models]
        return replace(self, scores=self.scores[:, at], why=self.why[:, at], models=tuple(models))

    def where(self, keep: npt.NDArray[np.bool_]) -> Candidates:
        """The rows where ``keep`` (N,) is true; every query stays, perhaps empty."""
        kept = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        return Candidates(
            kept[self.offsets], self.items[keep], self.scores[keep], self.models, self.why[keep]
        )

    def take(self, queries: IntArray) -> Candidates:
        """The queries ``queries`` (K,), in that order."""
        queries = np.asarray(queries, dtype=np.int64)
        lengths = self.lengths[queries]
        rows = spans(self.offsets[queries], lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Candidates(offsets, self.items[rows], self.scores[rows], self.models, self.why[rows])

    def between(self, start: int, stop: int) -> Candidates:
        """The queries from ``start`` up to ``stop``, without a copy."""
        rows = slice(int(self.offsets[start]), int(self.offsets[stop]))
        offsets = self.offsets[start : stop + 1] - self.offsets[start]
        return Candidates(offsets, self.items[rows], self.scores[rows], self.models, self.why[rows])

    @staticmethod
    def concatenate(parts: Sequence[Candidates]) -> Candidates:
        """The queries of several batches with the same models, in their order."""
        if not parts or len({part.models for part in parts}) != 1:
            got = str([part.models for part in parts])
            raise DataError(explain("Candidates.concatenate", "batches of the same models", got))
        lengths = np.concatenate([part.lengths for part in parts])
        return Candidates(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.scores for part in parts]),
            parts[0].models,
            np.concatenate([part.why for part in parts]),
        )

    def ranks(self) -> npt.NDArray[np.float32]:
        """(N, M) float32: each model's rank of each row in its query, from 1; NaN if no score."""
        out = np.full(self.scores.shape, np.nan, np.float32)
        for m in range(len(self.models)):
            column = self.scores[:, m]
            _, rank = segment_rank(self.offsets, (self.items, -column))
            present = ~np.isnan(column)
            out[present, m] = rank[present]
        return out

    def checked(self) -> Candidates:
        """Itself, after making sure of every rule in the class's docstring."""
        n, m = len(self.items), len(self.models)
        who = "Candidates"
        if self.scores.shape != (n, m) or self.why.shape != (n, m):
            raise DataError(
                explain(who, f"scores and why of shape {(n, m)}", str(self.scores.shape))
            )
        if len(set(self.models)) != m:
            raise DataError(explain(who, "unique model names", str(self.models)))
        if self.offsets[0] != 0 or self.offsets[-1] != n or (np.diff(self.offsets) < 0).any():
            raise DataError(explain(who, f"offsets rising from 0 to {n}", str(self.offsets)))
        if np.isinf(self.scores).any():
            bad = [self.models[i] for i in np.flatnonzero(np.isinf(self.scores).any(axis=0))]
            raise DataError(explain(who, "finite scores or NaN", f"infinities from {bad}"))
        if (np.isnan(self.scores) != (self.why != 0)).any():
            raise DataError(explain(who, "a reason exactly where a score is NaN", "another"))
        pairs = self.rows * (np.int64(2) ** 32) + self.items
        if len(np.unique(pairs)) != n:
            raise DataError(explain(who, "items unique inside a query", "a repeated item"))
        return self

    @staticmethod
    def union(lists: Sequence[Candidates]) -> Candidates:
        """All rows of several models' lists; what a model did not list is ``NOT_RETRIEVED``.

        Rows are ordered by item index inside a query, so the order of ``lists`` does not matter
        to the rows (only to the order of the columns).
        """
        if not lists:
            raise DataError(explain("Candidates.union", "at least one list", "none"))
        if len({c.n_queries for c in lists}) != 1:
            raise DataError(explain("Candidates.union", "the same queries in each", "others"))
        width = np.int64(2) ** 32
        keys = [c.rows * width + c.items for c in lists]
        merged = np.unique(np.concatenate(keys))
        rows, items = merged // width, (merged % width).astype(np.int32)
        n, models = len(merged), tuple(m for c in lists for m in c.models)
        scores = np.full((n, len(models)), np.nan, np.float32)
        why = np.full((n, len(models)), Missing.NOT_RETRIEVED, np.uint8)
        at = 0
        for c, key in zip(lists, keys, strict=True):
            to, width_c = np.searchsorted(merged, key), len(c.models)
            scores[to, at : at + width_c] = c.scores
            why[to, at : at + width_c] = c.why
            at += width_c
        offsets = np.searchsorted(rows, np.arange(lists[0].n_queries + 1)).astype(np.int64)
        return Candidates(offsets, items, scores, models, why)
