"""What strategies share: which models are asked, with which weights, merged by which method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from fusion.candidates import Candidates, Scores
from fusion.config_errors import nearest
from fusion.errors import ConfigError, explain
from fusion.missing import MissingPolicy
from fusion.normalizations.segments import FloatArray
from fusion.protocols import ComponentConfig, Labelled, Method, Pool, Windows
from fusion.spec import Spec

__all__ = [
    "MergeConfig",
    "MethodSpec",
    "Weights",
    "columns_of",
    "known_models",
    "teach",
    "unique_models",
    "weight_vector",
]

Weights = dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]


class MethodSpec(Spec):
    """``rrf``, or ``{name: weighted_sum, normalization: z_score, weights: {ease: 2}}``."""

    group: ClassVar[str] = "methods"

    weights: Weights = Field(default_factory=dict)

    def build(self) -> Method:
        """The method."""
        method: Method = super().build()
        return method


class MergeConfig(ComponentConfig):
    """A method and the models' weights in it."""

    method: MethodSpec = Field(
        default_factory=lambda: MethodSpec(name="rrf"),
        description="a fusion method by name, or its name, settings and weights",
        json_schema_extra={"default": "rrf"},
    )
    weights: Weights = Field(
        default_factory=dict,
        description="weights of the models in the method, 1 where none is given; they may stand "
        "here or in `method`",
    )

    @model_validator(mode="after")
    def _one_place_for_weights(self) -> Self:
        if self.weights and self.method.weights:
            raise ConfigError(
                explain("weights", "one place for them", "some here and some in `method`")
            )
        return self

    @property
    def all_weights(self) -> Mapping[str, float]:
        """The weights, wherever they stand."""
        return self.weights or self.method.weights


def columns_of(
    pool: Pool, policy: MissingPolicy, models: tuple[str, ...], rows: Candidates | None = None
) -> Candidates:
    """The columns ``models`` as ``policy`` wants them, less the rows that it excludes.

    Without score completion, retrievers have the scores that their own lists came with.

    Args:
        pool: whom to ask.
        policy: of missing scores.
        models: the columns, in this order.
        rows: of the pool's union, with the retrievers' own scores; ``None`` = all of it.
    """
    union = pool.candidates() if rows is None else rows
    listed = () if policy.completes else tuple(m for m in models if m in union.models)
    found = pool.complete(union, tuple(m for m in models if m not in listed))
    for model in listed:
        at = union.models.index(model)
        found = found.with_scores(model, Scores(union.scores[:, at], union.why[:, at]))
    found = found.only(models) if listed else found
    kept = policy.kept(found)
    return found if kept is None else found.where(kept)


def teach(method: Method, windows: Windows, columns: Callable[[Labelled], Candidates]) -> None:
    """Fit ``method``, if it learns, on ``columns(window)`` of every window, put end to end."""
    if method.learns:
        found = [columns(window) for window in windows]
        labels = [window.labels(part) for window, part in zip(windows, found, strict=True)]
        method.fit(Candidates.concatenate(found), np.concatenate(labels))


def unique_models(names: Sequence[str]) -> None:
    """Refuse an empty list of models, and a model named twice."""
    if not names:
        raise ConfigError(explain("models", "at least one model", "none"))
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ConfigError(explain("models", "each model once", f"{twice[0]!r} more than once"))


def known_models(who: str, asked: Sequence[str], models: Sequence[str]) -> tuple[str, ...]:
    """``asked``, if the engine has them all.

    Raises:
        ConfigError: it lacks one; the message names the nearest that it has.
    """
    for name in asked:
        if name not in models:
            raise ConfigError(
                explain(
                    who, f"one of the models {', '.join(models)}", repr(name), nearest(name, models)
                )
            )
    return tuple(asked)


def weight_vector(who: str, weights: Mapping[str, float], models: Sequence[str]) -> FloatArray:
    """(M,) float64: the weight of each of ``models``, 1 where ``weights`` names none.

    Raises:
        ConfigError: a weight for a model that is not among ``models``, which would be ignored, or
            no weight above 0.
    """
    for name in weights:
        if name not in models:
            expected = f"weights of the models it merges: {', '.join(models)}"
            raise ConfigError(explain(who, expected, repr(name), nearest(name, models)))
    vector = np.array([weights.get(model, 1.0) for model in models], dtype=np.float64)
    if len(vector) and not (vector > 0).any():
        raise ConfigError(explain(who, "a weight above 0", "0 for every model"))
    return vector
