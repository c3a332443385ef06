"""What a student learns from: a teacher engine's fused scores at moments of its users.

A moment is a user as they were at some time: the history up to there, which is excluded as in
serving, and the candidates that the retrievers bring. Nothing but the teacher's own data is used,
so what is held out of that data (a test split) is held out of the student too.

One thing differs from serving: at a moment before the end, the user's later events may be among the
candidates, and models that were fitted on them may know them. That is the teacher's knowledge of
its own training data, the same that the labels of any fine-tuning hold; it tells nothing of what
was held out. Users who validate or judge are asked about at the end of their history only, where no
candidate is one of their events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Dataset
from fusion.engine import Engine
from fusion.errors import DataError, explain
from fusion.normalizations.segments import sums
from fusion.pool import top_rows
from fusion.progress import stage
from fusion.protocols import FitContext, Model
from fusion.queries import Queries
from fusion.strategies.nesting import rows_in
from fusion.strategies.parallel import Parallel

__all__ = ["TEACHER", "Distillable", "Lessons", "Moments", "draw_moments", "lessons_of"]

#: the column that holds the teacher's fused scores
TEACHER = "teacher"
_HELD = 60  # users that validate at most, and as many that judge; a tenth of all where that is less


@dataclass(frozen=True, slots=True)
class Lessons:
    """Moments and what the teacher says of their candidates.

    Attributes:
        queries: ``Q`` moments.
        candidates: theirs, with the one column `TEACHER`: the fused score, higher is better, less
            the moment's mean and over its standard deviation (fused scores have no common unit);
            NaN = the teacher left the candidate out.
        held: (Q,) bool: moments that validate and do not train.
    """

    queries: Queries
    candidates: Candidates
    held: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def teacher(self) -> npt.NDArray[np.float32]:
        """(N,) float32: what the teacher said."""
        return self.candidates.column(TEACHER)

    def take(self, which: npt.NDArray[np.integer]) -> Lessons:
        """The moments ``which`` (K,) only."""
        return Lessons(self.queries.take(which), self.candidates.take(which), self.held[which])


class Distillable(Protocol):
    """A ranker that can learn to order candidates as something slower does.

    Attributes:
        report: numbers about the last training; whoever distils adds what it measured, and `save`
            keeps them.
    """

    report: dict[str, Any]

    @classmethod
    def student_of(cls, models: Mapping[str, Model]) -> dict[str, Any]:
        """Settings that it takes over from the teacher's ``models``, such as what text it reads."""

    def begin(self, data: Dataset, models: Mapping[str, Model]) -> None:
        """Be ready to score, untrained: from a fitted model among ``models``, or the base model.

        Raises:
            ConfigError, DataError: the settings or the data do not allow it.
        """

    def distill(self, lessons: Lessons, context: FitContext) -> None:
        """Learn the teacher's order, and fill ``report``."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Users at moments, before anybody was asked.

    Attributes:
        queries: ``Q`` moments: first those that train, then those that validate, then the judges.
        train: how many train.
        validate: how many validate.
    """

    queries: Queries
    train: int
    validate: int


def draw_moments(data: Dataset, users: int, cuts: int, rng: np.random.Generator) -> Moments:
    """``users`` of ``data`` drawn at random, at several moments each.

    Args:
        data: what the teacher was fitted on.
        users: how many, at most; a tenth of them validates and a tenth judges, one moment each.
        cuts: moments of each of the others: now, and ``cuts - 1`` earlier ones drawn from their
            history (fewer where it is short), each after the first event and before the last.
        rng: draws.

    Raises:
        DataError: fewer than three users with an event.
    """
    lengths = np.diff(data.offsets)
    chosen = rng.permutation(np.flatnonzero(lengths > 0))[:users]
    if len(chosen) < 3:
        raise DataError(
            explain("distill", "three users with an event or more", str(len(chosen)), "take more")
        )
    held = max(1, min(_HELD, len(chosen) // 10))
    judges, validate, train = chosen[:held], chosen[held : 2 * held], chosen[2 * held :]
    known = [
        np.unique([n, *rng.permutation(np.arange(1, n))[: cuts - 1]])
        for n in lengths[train].tolist()
    ]
    asked = np.concatenate([np.repeat(train, [len(n) for n in known]), validate, judges])
    events = np.concatenate([*known, lengths[validate], lengths[judges]]).astype(np.int64)
    queries = data.queries_before(asked, data.offsets[asked] + events)
    return Moments(queries, len(asked) - 2 * held, held)


def lessons_of(
    engine: Engine, moments: Moments, candidates: int, *, progress: bool
) -> tuple[Lessons, Lessons]:
    """What ``engine`` says of each moment's first ``candidates``, as the student will be asked.

    Those are the first by the reciprocal ranks of the retrievers, which is also how the student's
    engine chooses them.

    Returns:
        The lessons that train and validate, and those of the judges.

    Raises:
        DataError: nowhere are there two candidates to order.
    """
    pool = engine.pool(moments.queries, progress=progress)
    with stage(f"ask the teacher at {len(moments.queries):,} moments", show=progress):
        first = Parallel({"models": pool.retrievers}, name="distill").fuse(pool)
        rows = first.candidates.where(top_rows(first.candidates, first.scores, candidates))
        rows = Candidates.bare(rows.offsets, rows.items)
        fused = engine.strategy.fuse(pool)
    said = np.full(len(pool.candidates()), np.nan)
    said[rows_in(pool.candidates(), fused.candidates)] = fused.scores
    scores = _standardized(said[rows_in(pool.candidates(), rows)], rows.offsets)
    rows = rows.with_scores(TEACHER, Scores.of(scores))
    if not (np.bincount(rows.rows[~np.isnan(scores)], minlength=1) > 1).any():
        raise DataError(
            explain(
                "distill",
                "two candidates or more that the teacher orders",
                "at most one at every moment",
                "raise the retrievers' `n`, or take a teacher fitted on more data",
            )
        )
    at = np.arange(len(moments.queries))
    judges = at >= moments.train + moments.validate
    whole = Lessons(moments.queries, rows, at >= moments.train)
    return whole.take(at[~judges]), whole.take(at[judges])


def _standardized(
    scores: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """(N,) float64: z-scores inside each query, before float32 takes their digits; NaN stays."""
    lengths = np.diff(offsets)
    count = np.maximum(sums(~np.isnan(scores), offsets), 1.0)
    away = scores - np.repeat(sums(scores, offsets) / count, lengths)
    spread = np.sqrt(sums(np.square(away), offsets) / count)
    away /= np.repeat(np.where(spread > 0.0, spread, 1.0), lengths)
    return away
