"""LambdaMART and a conditional logit, each on the scale of its own spread, added up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.normalizations.segments import FloatArray, sums
from fusion.stackers.base import Importance, Stacker, Teaching, View
from fusion.stackers.boosting import TreeConfig
from fusion.stackers.lambdamart import LambdaMART
from fusion.stackers.linear import ConditionalLogit
from fusion.stackers.linear_model import LinearConfig

__all__ = ["Blend", "BlendConfig"]


class BlendConfig(TreeConfig, LinearConfig):
    """Settings of `Blend`: those of the trees, those of the linear model, and their shares."""

    blend: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the linear model in the score; 0 = trees alone, 1 = linear alone",
    )


class Blend(Stacker):
    """``(1 - blend) * trees / sd(trees) + blend * linear / sd(linear)``.

    ``trees`` is `fusion.stackers.lambdamart.LambdaMART`, ``linear`` is
    `fusion.stackers.linear.ConditionalLogit`, and each ``sd`` that of the scores inside a query, on
    average over the teaching queries. Why both: ``docs/decisions/0006-stacker.md``.

    Contributions: the trees' are SHAP values, the linear model's are exact; both are sums, so
    their blend is one.
    """

    Config = BlendConfig

    def __init__(self, config: Any = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        own = self.config.model_dump()
        self._halves: dict[str, tuple[float, Stacker]] = {}
        for share, key, kind in (
            (1 - self.config.blend, "trees", LambdaMART),
            (self.config.blend, "linear", ConditionalLogit),
        ):
            if share > 0:
                fields = kind.Config.model_fields
                settings = {field: own[field] for field in fields}
                self._halves[key] = (share, kind(settings, name=f"{self.name}.{key}"))
        self._scales: dict[str, float] = {}

    def learn(self, teaching: Teaching, rng: np.random.Generator) -> FloatArray:
        """Learn both, and how far the scores of each spread."""
        out = np.zeros(int(teaching.keep.sum()))
        scales = {}
        for key, (share, part) in self._halves.items():
            given = part.learn(teaching, rng)
            scales[key] = _spread(given, teaching.offsets)
            out += given * (share / scales[key])
        self._scales = scales
        return out

    def _shares(self) -> list[tuple[float, Stacker]]:
        if not self._scales:
            raise self.not_fitted()
        return [(share / self._scales[key], part) for key, (share, part) in self._halves.items()]

    def scores(self, view: View) -> FloatArray:
        """(N,) float64."""
        out = np.zeros(len(view.candidates))
        for share, part in self._shares():
            out += part.scores(view) * share
        return out

    def contributions(self, view: View, rows: npt.NDArray[np.int64]) -> FloatArray:
        """(R, M + 2) float64."""
        out = np.zeros((len(rows), len(self.parts(view))))
        for share, part in self._shares():
            out += part.contributions(view, rows) * share
        return out

    def importance(self) -> Importance:
        """Those of the trees and that of the linear model, each on its own scale."""
        return {
            kind: values
            for _, part in self._halves.values()
            for kind, values in part.importance().items()
        }

    def state(self) -> dict[str, Any]:
        """The scales; what each half learnt lies in its own folder."""
        return {"scales": dict(self._scales)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._scales = dict(state["scales"])

    def save(self, folder: Path) -> None:
        """``stacker.json``, and a folder for each part."""
        super().save(folder)
        for key, (_, part) in self._halves.items():
            (folder / key).mkdir()
            part.save(folder / key)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        super().load(folder)
        for key, (_, part) in self._halves.items():
            part.load(folder / key)


def _spread(scores: FloatArray, offsets: npt.NDArray[np.int64]) -> float:
    """Standard deviation of ``scores`` (N,) around their query's mean; 1 if all are equal."""
    lengths = np.diff(offsets)
    mean = np.repeat(sums(scores, offsets) / np.maximum(lengths, 1), lengths)
    spread = float(np.sqrt(np.mean(np.square(scores - mean))))
    return spread if spread > 0 else 1.0
