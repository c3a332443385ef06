"""What the fusion methods share: a worth for each score, a rule for missing ones, one sum a row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import floats_from_json, floats_to_json
from fusion.candidates import Candidates, Missing
from fusion.errors import NotFittedError, explain
from fusion.methods.addition import added
from fusion.missing import MissingPolicy, among
from fusion.normalizations.segments import FloatArray, extremes
from fusion.protocols import ComponentConfig, Method
from fusion.spec import NormalizationSpec

__all__ = [
    "CHUNK",
    "MethodConfig",
    "ScoreConfig",
    "ScoreMethod",
    "WorthMethod",
    "chunks",
    "fill_lowest",
]

#: rows worked on at once: what a method allocates for them stays in the processor's cache
CHUNK = 16_384


class MethodConfig(ComponentConfig):
    """Settings that every built-in method has."""

    missing: MissingPolicy = Field(
        default_factory=MissingPolicy,
        description="what stands for a score that is missing, a rule for each reason",
    )


class ScoreConfig(MethodConfig):
    """Settings of a method that merges normalised scores."""

    normalization: NormalizationSpec = Field(
        default_factory=lambda: NormalizationSpec(name="min_max"),
        description="puts the models on one scale",
        json_schema_extra={"default": "min_max"},
    )


class WorthMethod(Method):
    """A method in two steps: what each score is worth, and how the worths of a row are merged.

    Between the two the policy of missing scores (``missing`` in the config) puts a worth where a
    score is missing, so that each policy works with each method.

    Attributes:
        by_rank: only the order of each model's scores enters; any rescaling that keeps the order
            changes nothing.
        monotone: raising one model's score of an item never lowers the item: neither its fused
            score nor its place (in a `ScoreMethod` under `MinMax` or `Rank`; other normalisations
            do not promise it).
    """

    Config = MethodConfig
    by_rank: ClassVar[bool] = False
    monotone: ClassVar[bool] = False

    def __init__(self, config: object = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)  # type: ignore[arg-type]
        #: reason -> model -> worth of a missing score
        self._priors: dict[Missing, dict[str, float]] = {}

    @property
    def missing(self) -> MissingPolicy:
        """What stands for missing scores."""
        policy: MissingPolicy = self.config.missing
        return policy

    @property
    def learns(self) -> bool:
        """Whether `fit` must be called before the method is used."""
        return self.missing.learns

    @abstractmethod
    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64, new memory: what each score is worth; NaN where there is no score."""

    def settle(self, worth: FloatArray, candidates: Candidates) -> None:
        """Put the method's own rule where ``worth`` (M, N) is still NaN; by default nothing."""

    def combine(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(M, N) float64 without NaN: what each model gives to each row's fused score.

        By default ``weight * worth``, and nothing where there is no worth.

        Args:
            worth: (M, N), NaN where a model says nothing; may be changed in place.
            weights: (M,), never negative; a model of weight 0 is as one that is not there.
        """
        if (weights != 1.0).any():
            worth *= weights[:, None]
        np.copyto(worth, 0.0, where=np.isnan(worth))
        return worth

    def merge(self, worth: FloatArray, weights: FloatArray) -> FloatArray:
        """(N,) float64 without NaN: the fused scores, which the columns of `combine` sum to.

        A method that finds them without contributions does so here: faster, and exact where a sum
        of parts would round.
        """
        return added(self.combine(worth, weights))

    def filled(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64, new memory: the worths, after the rules for missing scores.

        Raises:
            NotFittedError: the policy has priors, and `fit` did not see these models.
        """
        worth = self.worth(candidates)
        self._fill(worth, candidates)
        self.settle(worth, candidates)
        return worth

    def contributions(self, candidates: Candidates, weights: FloatArray) -> FloatArray:
        """(N, M) float64: what each model gives to the fused score of each row."""
        return self.combine(self.filled(candidates), weights).T

    def fused(self, candidates: Candidates, weights: FloatArray) -> FloatArray:
        """(N,) float64: the fused scores; what `contributions` sum to."""
        return self.merge(self.filled(candidates), weights)

    def _fill(self, worth: FloatArray, candidates: Candidates) -> None:
        censored = self.missing.reasons("lowest")
        if censored:
            fill_lowest(worth, candidates, censored)
        for reason in self.missing.reasons("prior"):
            known = self._priors.get(reason, {})
            for m, model in enumerate(candidates.models):
                if model not in known:
                    wanted = f"to be fitted on the scores of {model!r}"
                    got = ", ".join(known) or "none"
                    raise NotFittedError(explain(self.name, wanted, got, "call fit first"))
                gone = candidates.why[:, m] == reason
                np.copyto(worth[m], known[model], where=gone)

    def fit(self, candidates: Candidates, labels: npt.NDArray[np.float32]) -> None:
        """Learn the priors of missing scores, where the policy has any."""
        if self.missing.learns:
            from fusion.methods.priors import priors_of

            worth = self.worth(candidates)
            self._priors = {
                reason: dict(
                    zip(
                        candidates.models,
                        priors_of(worth, candidates.why == reason, labels).tolist(),
                        strict=True,
                    )
                )
                for reason in self.missing.reasons("prior")
            }

    def state(self) -> dict[str, Any]:
        """What was learnt, as JSON knows it."""
        if not self._priors:
            return {}
        return {
            "priors": {
                reason.name.lower(): dict(
                    zip(known, floats_to_json(np.array(list(known.values()))), strict=True)
                )
                for reason, known in self._priors.items()
            }
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._priors = {
            Missing[name.upper()]: dict(
                zip(known, floats_from_json(list(known.values())).tolist(), strict=True)
            )
            for name, known in state.get("priors", {}).items()
        }


class ScoreMethod(WorthMethod):
    """A method whose worths are normalised scores."""

    Config = ScoreConfig

    def __init__(self, config: object = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        self._normalization = self.config.normalization.build()

    @property
    def learns(self) -> bool:
        """Whether the normalisation or the rule for missing scores needs out-of-window scores."""
        return super().learns or self._normalization.learns

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64: the normalised scores."""
        scores: FloatArray = self._normalization.normalize(candidates)
        return np.ascontiguousarray(scores.T)

    def fit(self, candidates: Candidates, labels: npt.NDArray[np.float32]) -> None:
        """Fit the normalisation first, then what stands for missing scores on its scale."""
        if self._normalization.learns:
            self._normalization.fit(candidates, labels)
        super().fit(candidates, labels)

    def state(self) -> dict[str, Any]:
        """What was learnt, as JSON knows it."""
        own = super().state()
        return {**own, "normalization": self._normalization.state()} if self.learns else own

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        super().restore(state)
        if "normalization" in state:
            self._normalization.restore(state["normalization"])


def chunks(candidates: Candidates, rows: int = CHUNK) -> Iterator[tuple[int, int]]:
    """Ranges of whole queries, each of at most ``rows`` rows, or of one longer query.

    No number of a query depends on another query, so working range by range changes nothing and
    bounds the memory.
    """
    offsets = candidates.offsets
    start = 0
    while start < candidates.n_queries:
        stop = int(np.searchsorted(offsets, offsets[start] + rows, side="right")) - 1
        stop = min(max(stop, start + 1), candidates.n_queries)
        yield start, stop
        start = stop


def fill_lowest(worth: FloatArray, candidates: Candidates, reasons: tuple[Missing, ...]) -> None:
    """Replace the missing of ``worth`` (M, N), in place, by the lowest of its model in the query.

    Only where the reason is one of ``reasons``; a model without a number in the query keeps NaN.
    Where all numbers of a model in the query are equal, they tell only listed from not listed: the
    not listed get 0, or that number if it is lower, lest a list of one item say the same of every
    item.
    """
    for m, column in enumerate(worth):
        why = candidates.why[:, m]
        censored = among(why, reasons)
        if censored.any():
            low, high = extremes(column, candidates.offsets)
            floor = np.where(low == high, np.minimum(low, 0.0), low)
            np.copyto(column, np.repeat(floor, candidates.lengths), where=censored)
