"""What the stacker sees of a candidate: numbers that mean the same in learning and in serving.

Between learning and serving the models are fitted again on more data, so counts grow and the lists
of other queries differ. Therefore popularity is a share, never a count; it is the share in the data
that the models were fitted on (the all-time one, less what a model has seen, is the future); scores
also appear relative to the query; and everything depends on the query's own candidates only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.normalizations.segments import FloatArray, ranks
from fusion.queries import Queries
from fusion.stackers.base import CONTEXT, View
from fusion.stackers.filling import min_max, z_scores

__all__ = ["Layout", "linear_features", "query_ages", "tree_features"]

_DAY = 86_400.0


@dataclass(frozen=True)
class Layout:
    """Names of the columns of a feature matrix.

    Attributes:
        names: (F,) of the features.
        parts: (F,) the model that each comes from, or `CONTEXT`.
        directions: (F,) 1 where a better score can only raise the feature, -1 where it can only
            lower it, 0 where it does neither.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    directions: tuple[int, ...]

    def shares(self, parts: tuple[str, ...]) -> FloatArray:
        """(F, P) float64: 1 where feature ``f`` belongs to part ``p``."""
        return np.array([[float(own == part) for part in parts] for own in self.parts])


def query_ages(queries: Queries) -> FloatArray:
    """(Q,) float64: days since the newest event; NaN where a time is unknown.

    Also NaN where ``now`` is not after that event: asked without a time, an engine can only put
    the newest event's own, and a stacker must not take that for "a moment ago".
    """
    newest = np.full(len(queries), np.nan)
    known = queries.history.lengths > 0
    newest[known] = queries.times[queries.history.offsets[1:][known] - 1]
    age = (queries.now - newest) / _DAY
    return np.where(age > 0, age, np.nan)


def tree_features(
    view: View, *, raw_scores: bool = False
) -> tuple[npt.NDArray[np.float32], Layout]:
    """For trees, which take NaN and any scale as they are.

    Per model: the score by min-max in the query (where it is missing, what the policy says, else
    NaN), the rank (NaN where there is no score), and the reason for that (a `Missing` code). Then
    the context: item popularity as ``log1p(share * items)``, so that 0 is an unseen item and log 2
    an average one; history length and days since the newest event, both by ``log1p``. What is
    constant in a query cannot order its items but tells how far each model is to be believed there.

    Args:
        view: ``N`` rows, ``M`` columns.
        raw_scores: also each model's score as it is. It tells how sure the model is of a whole
            query, and it shifts when the model is fitted again.

    Returns:
        (N, F) float32, F = 3 M + 3 (4 M + 3 with raw scores), and what the columns are.
    """
    candidates = view.candidates
    models = candidates.models
    scaled, place = min_max(candidates, view.fill), ranks(candidates)
    names: list[str] = []
    parts: list[str] = []
    directions: list[int] = []
    columns: list[npt.NDArray[Any]] = []

    def add(part: str, name: str, direction: int, column: npt.NDArray[Any]) -> None:
        names.append(name)
        parts.append(part)
        directions.append(direction)
        columns.append(column)

    for m, model in enumerate(models):
        if raw_scores:
            add(model, f"{model}.score", 1, candidates.scores[:, m])
        add(model, f"{model}.min_max", 1, scaled[:, m])
        add(model, f"{model}.rank", -1, place[:, m])
        add(model, f"{model}.missing", 0, candidates.why[:, m])
    rows = candidates.rows
    add(CONTEXT, "item.popularity", 0, _log_popularity(view))
    add(CONTEXT, "query.history", 0, np.log1p(view.queries.history.lengths)[rows])
    add(CONTEXT, "query.age", 0, np.log1p(view.ages)[rows])
    matrix = np.empty((len(candidates), len(columns)), np.float32)
    for f, column in enumerate(columns):
        matrix[:, f] = column
    return matrix, Layout(tuple(names), tuple(parts), tuple(directions))


def linear_features(view: View) -> tuple[npt.NDArray[np.float32], Layout]:
    """For a linear model, which needs every number and one scale.

    Per model: the z-score in the query, without gaps (`fusion.stackers.filling.z_scores`), and
    ``-log(rank)``; one place behind the last where there is no score. Then item popularity as
    above. What is constant in a query cancels in a linear ranking and is left out.

    Returns:
        (N, F) float32, F = 2 M + 1, and what the columns are.
    """
    candidates = view.candidates
    models = candidates.models
    scaled, place = z_scores(candidates, view.fill), ranks(candidates).astype(np.float64)
    behind = np.repeat(candidates.lengths, candidates.lengths) + 1.0
    names = [f"{model}.{what}" for model in models for what in ("z_score", "log_rank")]
    parts = [model for model in models for _ in range(2)]
    matrix = np.empty((len(candidates), len(names) + 1), np.float32)
    for m in range(len(models)):
        matrix[:, 2 * m] = scaled[:, m]
        matrix[:, 2 * m + 1] = -np.log(np.where(np.isnan(place[:, m]), behind, place[:, m]))
    matrix[:, -1] = _log_popularity(view)
    return matrix, Layout((*names, "item.popularity"), (*parts, CONTEXT), (1,) * len(names) + (0,))


def _log_popularity(view: View) -> FloatArray:
    return np.log1p(view.popularity[view.candidates.items] * len(view.popularity))
