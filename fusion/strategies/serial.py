"""Serial fusion: a cascade, in which each stage judges only what the stage before it kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from fusion.candidates import Candidates, Missing, Scores
from fusion.config_components import Fusion, make
from fusion.errors import ConfigError, explain
from fusion.normalizations.segments import FloatArray, extremes
from fusion.protocols import ComponentConfig, FitContext, Fused, Pool, Strategy, Windows
from fusion.strategies.leaks import refuse_leaks
from fusion.strategies.merging import MergeConfig, MethodSpec, unique_models, weight_vector
from fusion.strategies.nesting import (
    CrossFitted,
    Voter,
    Within,
    fuse_by,
    rows_in,
    within_windows,
)
from fusion.strategies.parallel import Parallel
from fusion.strategies.tree import best_rows

__all__ = ["Serial", "SerialConfig", "Stage"]


class Stage(MergeConfig):
    """One stage of `Serial`: models and a method, or a fusion of its own."""

    models: tuple[str, ...] = Field(
        (),
        description="the models that its method merges; those of earlier stages may be named again "
        "and are not asked again",
    )
    fusion: Fusion | None = Field(
        None, description="any fusion, instead of `models`, `method` and `weights`"
    )
    keep: int | None = Field(
        None, ge=1, description="how many candidates of a query go on; null in the last stage only"
    )

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if self.fusion is None:
            unique_models(self.models)
            weight_vector("weights", self.all_weights, self.models)
            return self
        own = {"models", "method", "weights"} & self.model_fields_set
        filled_in = {"models": (), "weights": {}, "method": MethodSpec.model_validate("rrf")}
        also = sorted(name for name in own if getattr(self, name) != filled_in[name])
        if also:
            raise ConfigError(
                explain("a stage", "models with their method, or a fusion", f"both ({also[0]})")
            )
        return self

    @model_serializer(mode="wrap")
    def _one_form(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys of the other form: a setting that is shown has an effect."""
        other = ("fusion",) if self.fusion is None else ("models", "method", "weights")
        return {key: value for key, value in handler(self).items() if key not in other}

    @property
    def passes(self) -> int | None:
        """How many go on at most: its own ``keep``, else that of its fusion."""
        inner = None if self.fusion is None else self.fusion.get("keep")
        return inner if self.keep is None else self.keep

    def build(self, name: str) -> Strategy:
        """The strategy that judges in this stage."""
        if self.fusion is not None:
            return cast(Strategy, make("fusion", name, self.fusion))
        params = {"models": self.models, "method": self.method, "weights": self.weights}
        return Parallel({k: v for k, v in params.items() if v}, name=name)


class SerialConfig(ComponentConfig):
    """Settings of `Serial`."""

    stages: tuple[Stage, ...] = Field(min_length=1, description="from the cheapest to the dearest")

    @model_validator(mode="after")
    def _check_keeps(self) -> Self:
        kept = None
        for number, stage in enumerate(self.stages, start=1):
            if stage.passes is None and number < len(self.stages):
                raise ConfigError(
                    explain(f"stage {number}", "how many candidates it keeps", "no `keep`")
                )
            passes = stage.passes
            if kept is not None and passes is not None and passes > kept:
                raise ConfigError(
                    explain(
                        f"stage {number}",
                        f"to keep at most the {kept} that reach it",
                        str(passes),
                    )
                )
            kept = passes
        return self


class Serial(Strategy):
    """Cheap models first, dear ones on what is left.

    Inputs: in stage ``i``, the columns of its models on the candidates that stage ``i - 1`` kept;
    a model of a later stage is never asked about the others, which have the reason ``FILTERED``.

    The order: whoever a later stage judged stands before whoever an earlier stage cut, and those
    cut by the same stage stand in that stage's order. So that one number says this, a candidate's
    score is what the last stage that judged it gave, plus the part ``"cascade"``: 0 for what the
    last stage kept, and below that, for each stage's cut, the offset that puts its best 1 under
    the worst of the candidates that went on. ``keep`` in the last stage therefore moves nothing;
    it lets the score show the gap. Candidates that a stage has no opinion of (its fusion leaves
    them out) stand behind those that it cut; those that no stage judged are left out, and so are
    those that the missing policy of a stage's method excludes.

    Learning: a stage that learns does so on what the stages before it keep; where one of those
    learns too, they are cross-fitted for that, since a stage that saw the label keeps it.

    Example, in YAML::

        fusion:
          mode: serial
          stages:
            - {models: [ease, dense], method: rrf, keep: 100}
            - {models: [ease, bert], method: weighted_sum, keep: 20}
            - {fusion: {mode: learned, models: [ease, bert, gpt]}}
    """

    Config = SerialConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._stages = tuple(stage.build(self.name) for stage in self.config.stages)
        # only what a model was asked for holds in later stages too: they may want it completed
        self._completes = tuple(
            stage.fusion is None and stage.method.build().missing.completes
            for stage in self.config.stages
        )

    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """Every stage's models, in the order of the stages.

        Raises:
            ConfigError: the engine lacks one of them.
        """
        asked = dict.fromkeys(name for stage in self._stages for name in stage.uses(models))
        return tuple(asked)

    @property
    def learns(self) -> bool:
        """Whether any stage does."""
        return any(stage.learns for stage in self._stages)

    def fit(self, windows: Windows, context: FitContext) -> None:
        """Fit each stage that learns on what those before it keep.

        Raises:
            LeakageError: a column's model was not fitted on exactly its window's past. This holds
                for stages that do not learn too: who saw the label keeps it.
        """
        for window in windows:
            refuse_leaks(f"fusion {self.name}", self.uses(window.pool.models), window)
        last = max((i for i, stage in enumerate(self._stages) if stage.learns), default=-1)
        left = [_bare(window.pool.candidates()) for window in windows]
        for i, stage in enumerate(self._stages[: last + 1]):
            here = within_windows(windows, left)
            voter: Voter = stage
            if stage.learns:
                if i < last:
                    voter = CrossFitted.of(stage, here, context)
                stage.fit(here, context)
            if i < last:
                keep = self.config.stages[i].keep
                left = [
                    _kept(fuse_by(voter, window.pool, rows), keep)
                    for window, rows in zip(windows, left, strict=True)
                ]

    def fuse(self, pool: Pool) -> Fused:
        """Judge every candidate, each by the stages that it reaches."""
        union = pool.candidates()
        models = self.uses(pool.models)
        survivors, rows = _bare(union), np.arange(len(union))
        values = np.full((len(models), len(union)), np.nan, np.float32)
        why = np.full(values.shape, Missing.FILTERED, np.uint8)
        scores = np.zeros(len(union))
        judge = np.full(len(union), -1)  # the last stage that judged the row
        level = np.zeros(len(union), np.int64)  # rises with every stage passed
        answers: list[tuple[Fused, npt.NDArray[np.int64]]] = []
        for i, (stage, config) in enumerate(zip(self._stages, self.config.stages, strict=True)):
            fused = stage.fuse(Within(pool, survivors))
            judged = rows_in(survivors, fused.candidates)
            for m, model in enumerate(fused.candidates.models):
                if model in models:
                    at = models.index(model)
                    values[at, rows[judged]] = fused.candidates.scores[:, m]
                    why[at, rows[judged]] = fused.candidates.why[:, m]
            here = rows[judged]
            scores[here], judge[here] = fused.scores, i
            answers.append((fused, here))
            level[here] = 2 * i + 1
            if config.fusion is None:  # what its missing policy excludes is not recommended
                judge[np.delete(rows, judged)] = -1
            known = _with_columns(survivors, judged, fused.candidates, self._completes[i])
            if config.keep is not None:
                kept = best_rows(fused, config.keep)
                known, here = known.where(kept), here[kept]
            survivors, rows = known, here
            level[rows] = 2 * i + 2
        seen = judge >= 0
        cascade = _cascade(scores, level, seen, union.offsets)
        whole = Candidates(union.offsets, union.items, values.T, models, why.T)
        parts = tuple(dict.fromkeys(p for fused, _ in answers for p in fused.parts))
        explained = _Explained(answers, judge[seen], np.flatnonzero(seen), cascade[seen], parts)
        return Fused(
            whole if seen.all() else whole.where(seen),
            (scores + cascade)[seen],
            (*parts, "cascade"),
            explained,
        )

    def save(self, folder: Path) -> None:
        """A folder for each stage that learns."""
        for i, stage in enumerate(self._stages):
            if stage.learns:
                (folder / f"stage-{i}").mkdir()
                stage.save(folder / f"stage-{i}")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        for i, stage in enumerate(self._stages):
            if stage.learns:
                stage.load(folder / f"stage-{i}")


@dataclass(frozen=True)
class _Explained:
    """`fusion.protocols.Fused.explain` of a cascade: each row by the stage that judged it last.

    Attributes:
        answers: each stage's answer, and where its rows stand in the union.
        judge: (N,) the stage of each row of the result.
        union: (N,) where each row of the result stands in the union.
        cascade: (N,) the part of that name.
        parts: the other ones.
    """

    answers: list[tuple[Fused, npt.NDArray[np.int64]]]
    judge: npt.NDArray[np.int64]
    union: npt.NDArray[np.int64]
    cascade: FloatArray
    parts: tuple[str, ...]

    def __call__(self, rows: npt.NDArray[np.int64]) -> FloatArray:
        out = np.zeros((len(rows), len(self.parts) + 1))
        out[:, -1] = self.cascade[rows]
        for i, (fused, where) in enumerate(self.answers):
            mine = np.flatnonzero(self.judge[rows] == i)
            if len(mine):
                order = np.argsort(where, kind="stable")
                at = order[np.searchsorted(where, self.union[rows[mine]], sorter=order)]
                columns = np.array([self.parts.index(part) for part in fused.parts], np.int64)
                out[np.ix_(mine, columns)] = fused.explain(at)
        return out


def _with_columns(
    before: Candidates, judged: npt.NDArray[np.int64], after: Candidates, new: bool
) -> Candidates:
    """The rows ``judged`` of ``before``, with the columns of ``after`` in addition if ``new``.

    A fusion inside a stage may have cut candidates before it asked a model, so only what a stage's
    own models said counts as said.
    """
    out = Candidates(
        after.offsets, after.items, before.scores[judged], before.models, before.why[judged]
    )
    for m, model in enumerate(after.models if new else ()):
        out = out.with_scores(model, Scores(after.scores[:, m], after.why[:, m]))
    return out


def _bare(candidates: Candidates) -> Candidates:
    return Candidates.bare(candidates.offsets, candidates.items)


def _kept(fused: Fused, keep: int | None) -> Candidates:
    """The rows that go on, as bare candidates."""
    left = fused.candidates if keep is None else fused.candidates.where(best_rows(fused, keep))
    return _bare(left)


def _cascade(
    scores: FloatArray,
    level: npt.NDArray[np.int64],
    seen: npt.NDArray[np.bool_],
    offsets: npt.NDArray[np.int64],
) -> FloatArray:
    """(N,) float64: the offset of each row, see `Serial`."""
    lengths = np.diff(offsets)
    out = np.zeros(len(scores))
    floor = np.full(len(lengths), np.nan)  # the worst score so far, from the last stage upwards
    for group in range(int(level.max(initial=0)), 0, -1):
        inside = seen & (level == group)
        worst, best = extremes(np.where(inside, scores, np.nan), offsets)
        # a step of 1, and more where the scores are so large that 1 would be rounded away
        step = 1.0 + 1e-9 * (np.abs(floor) + np.abs(best))
        offset = floor - step - best
        moved = ~np.isnan(offset)
        offset = np.where(moved, offset, 0.0)
        # added to an offset, scores that hardly differ would become one: each place costs a little
        # more than what rounding may take
        little = np.where(moved, 2.0**-49 * (step + np.abs(offset) + np.abs(worst)), 0.0)
        rows = np.flatnonzero(inside & np.repeat(moved, lengths))
        out[inside] = np.repeat(offset, lengths)[inside]
        out[rows] -= np.repeat(little, lengths)[rows] * _places(scores, rows, offsets)
        low, _ = extremes(np.where(inside, scores + out, np.nan), offsets)
        floor = np.fmin(floor, low)
    return out


def _places(
    scores: FloatArray, rows: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(len(rows),) int64: how many different scores among ``rows`` are above it in its query."""
    query = np.searchsorted(offsets, rows, side="right") - 1
    order = np.lexsort((-scores[rows], query))
    ranked, owner = scores[rows][order], query[order]
    same = np.concatenate([[False], owner[1:] == owner[:-1]]) if len(rows) else np.zeros(0, bool)
    falls = np.cumsum(same & np.concatenate([[False], ranked[1:] < ranked[:-1]])[: len(rows)])
    first = np.flatnonzero(~same)
    out = np.empty(len(rows), np.int64)
    out[order] = falls - np.repeat(falls[first], np.diff([*first, len(rows)]))
    return out
