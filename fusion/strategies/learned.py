"""Learned fusion: a stacker over out-of-window scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from fusion.artifacts import read_json, write_json
from fusion.candidates import Candidates
from fusion.errors import DataError, NotFittedError, explain
from fusion.missing import MissingPolicy
from fusion.normalizations.segments import FloatArray, sums
from fusion.protocols import (
    ComponentConfig,
    Explain,
    FitContext,
    Fused,
    Labelled,
    Pool,
    Strategy,
    Windows,
)
from fusion.ragged import whole_segments
from fusion.stackers.base import BASELINE, CONTEXT, Fill, Stacker, Teaching, View
from fusion.stackers.features import query_ages
from fusion.stackers.filling import fill_from_json, fill_of, fill_to_json
from fusion.stackers.spec import StackerSpec
from fusion.strategies.leaks import refuse_leaks
from fusion.strategies.merging import columns_of, known_models, unique_models
from fusion.strategies.parallel import Parallel

__all__ = ["Learned", "LearnedConfig"]

log = logging.getLogger(__name__)


class LearnedConfig(ComponentConfig):
    """Settings of `Learned`."""

    models: tuple[str, ...] | None = Field(None, description="the models to stack; null = all")
    stacker: StackerSpec = Field(
        default_factory=lambda: StackerSpec(name="blend"),
        description="a stacker by name, or its name and settings",
        json_schema_extra={"default": "blend"},
    )
    missing: MissingPolicy = Field(
        default_factory=MissingPolicy,
        description="what stands for a score that is missing, a rule for each reason; `nan` leaves "
        "it to the stacker: trees take it as it is",
    )
    hide_age: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="share of teaching queries that do not tell the age of their last event, so "
        "that there is a learnt answer where no time is known",
    )
    min_queries: int = Field(
        20,
        ge=2,
        description="fewer queries with their target among the candidates, over all windows, are "
        "too few",
    )
    too_few: Literal["rrf", "error"] = Field(
        "rrf", description="what then: reciprocal rank fusion with a warning, or an error"
    )

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
        taught: how many queries of each window taught, the oldest window first.
        stacker: ``None`` after a fallback.
        fill: what stands for missing scores.
    """

    models: tuple[str, ...]
    taught: tuple[int, ...]
    stacker: Stacker | None
    fill: Fill


class Learned(Strategy):
    """Learns from held-back events how far to believe whom.

    Inputs: the columns of `models`, completed over the union unless ``missing`` says otherwise;
    item popularity; history lengths and times.
    Requirements: `fit` on windows whose columns come from models fitted on the window's past, and
    on nothing else; a query teaches if its target is among its candidates (targets are never
    added: at serving nobody adds them). With fewer than ``min_queries`` of those, over all windows,
    it falls back to reciprocal rank fusion and says so (`fallback`), or refuses, as ``too_few``
    says.
    Relations: how it learns is the stacker's business, see `fusion.stackers`. Each window keeps its
    own popularity, ranks and scales; only the rows that come out are put together.

    Contributions: each model's name for its own features, ``"context"`` for the features of item
    and query, ``"baseline"`` for the expected score. They are computed for the rows that somebody
    looks at, for SHAP values cost far more than scores.

    Example, in YAML::

        fusion:
          mode: learned
          stacker: {name: lambdamart, num_leaves: 15}
          missing: {filtered: lowest}
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
        return self._fitted.stacker is None

    @property
    def taught(self) -> tuple[int, ...]:
        """How many queries of each window taught, the oldest window first."""
        return self._fitted.taught

    @property
    def stacker(self) -> Stacker:
        """What was learnt.

        Raises:
            NotFittedError: nothing was learnt, or too little (`fallback`).
        """
        found = self._fitted.stacker
        if found is None:
            raise NotFittedError(
                explain(f"fusion {self.name}", "a fitted stacker", "its fallback", "see `fallback`")
            )
        return found

    def importance(self) -> Mapping[str, Mapping[str, float]]:
        """By which measure -> feature or model -> how much it matters; empty after a fallback."""
        return {} if self.fallback else self.stacker.importance()

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
        """Learn from ``windows``, all of them together.

        Raises:
            LeakageError: a column's model was not fitted on exactly its window's past.
            DataError: too few queries teach, and ``too_few`` is ``error``.
        """
        if not windows:
            raise DataError(explain(f"fusion {self.name}", "a window to learn from", "none"))
        models = self.uses(windows[-1].pool.models)
        for window in windows:
            refuse_leaks(f"fusion {self.name}", self.uses(window.pool.models), window)
        found = [_teaching_rows(window, self.config.missing, models) for window in windows]
        taught = tuple(len(which) for which, _ in found)
        queries = sum(len(window.targets) for window in windows)
        if sum(taught) < self.config.min_queries:
            self._fall_back(models, taught, queries)
            return
        rng = context.rng(f"fusion {self.name}")
        kept = [
            (window, which, rows)
            for window, (which, rows) in zip(windows, found, strict=True)
            if len(which)
        ]
        targets = [window.targets[which][rows.rows] for window, which, rows in kept]
        columns = Candidates.concatenate([rows for _, _, rows in kept])
        labels = (columns.items == np.concatenate(targets)).astype(np.float32)
        fill = fill_of(self.config.missing, columns, labels)
        views = []
        for window, which, rows in kept:
            asked = window.pool.queries.take(which)
            ages = query_ages(asked)
            ages[rng.random(len(ages)) < self.config.hide_age] = np.nan
            views.append(View(rows, asked, window.pool.popularity, ages, fill))
        stacker = self.config.stacker.build()
        stacker.fit(Teaching.of(tuple(views), labels), rng)
        log.info("fusion %s: learnt from %s queries", self.name, " + ".join(str(n) for n in taught))
        self._state = _State(models, taught, stacker, fill)

    def _fall_back(self, models: tuple[str, ...], taught: tuple[int, ...], queries: int) -> None:
        message = explain(
            f"fusion {self.name}",
            f"at least {self.config.min_queries} queries with their target among the candidates",
            f"{sum(taught)} of {queries}",
            "hold back more events, raise the retrievers' `n`, or use mode: parallel",
        )
        if self.config.too_few == "error":
            raise DataError(message)
        log.warning("%s; until then it is reciprocal rank fusion", message)
        self._state = _State(models, taught, None, Fill(self.config.missing))

    def fuse(self, pool: Pool) -> Fused:
        """Judge every candidate that ``missing`` does not exclude.

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
        if state.stacker is None:
            return Parallel({"models": models}, name=self.name).fuse(pool)
        rows = columns_of(pool, self.config.missing, models)
        view = View(rows, pool.queries, pool.popularity, query_ages(pool.queries), state.fill)
        parts = (*models, CONTEXT, BASELINE)
        return Fused(rows, state.stacker.scores(view), parts, _explain_by(state.stacker, view))

    def save(self, folder: Path) -> None:
        """``learned.json``, and the stacker's own files beside it."""
        state = self._fitted
        write_json(
            folder / "learned.json",
            {
                "models": list(state.models),
                "taught": list(state.taught),
                "fallback": state.stacker is None,
                "priors": fill_to_json(state.fill),
            },
        )
        if state.stacker is not None:
            state.stacker.save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; its bytes must have been checked before (LightGBM does not)."""
        saved = read_json(folder / "learned.json")
        stacker: Stacker | None = None
        if not saved["fallback"]:
            stacker = self.config.stacker.build()
            stacker.load(folder)
        fill = fill_from_json(self.config.missing, saved["priors"])
        self._state = _State(tuple(saved["models"]), tuple(saved["taught"]), stacker, fill)


def _teaching_rows(
    window: Labelled, policy: MissingPolicy, models: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64], Candidates]:
    """Which queries of a window teach (K,), and their rows."""
    union = window.pool.candidates()
    teaches = sums(window.labels(union), union.offsets) > 0
    # nobody is asked about queries that do not teach
    rows = columns_of(window.pool, policy, models, union.where(teaches[union.rows]))
    if len(rows) < len(union):  # the policy may have excluded targets
        teaches &= sums(window.labels(rows), rows.offsets) > 0
    which = np.flatnonzero(teaches)
    return which, rows.take(which)


def _explain_by(stacker: Stacker, view: View) -> Explain:
    """See `fusion.protocols.Fused`: only the queries of the rows asked for are worked on."""

    def explain_rows(rows: npt.NDArray[np.int64]) -> FloatArray:
        queries, at = whole_segments(view.candidates.offsets, rows)
        return stacker.contributions(view.take(queries), at)

    return explain_rows
