"""What the methods share that learn how often each place of a model's list is right.

PosFuse, ProbFuse, SegFuse, SlideFuse, MAPFuse and BayesFuse are one idea: learn for each model,
from out-of-window scores and labels, what its places are worth; then look each item's place up.
They differ in how places are grouped (`PlaceMethod.learn`) and looked up (`PlaceMethod.at`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.artifacts import floats_from_json, floats_to_json
from fusion.candidates import Candidates
from fusion.errors import DataError, NotFittedError, explain
from fusion.methods.base import WorthMethod
from fusion.normalizations.segments import FloatArray, ranks, sums

__all__ = [
    "Lists",
    "PlaceMethod",
    "Places",
    "by_segment",
    "deepest",
    "least_for_unseen",
    "lengths_of",
    "look_up",
    "precision",
    "rising",
]

Places = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lists:
    """One model's lists in the training queries, a row for each of its ``K`` scores.

    A query in which the model gave no score is no list: it tells nothing of the model's places.

    Attributes:
        query: (K,) int64.
        place: (K,) int64, the rank in the query, from 1.
        length: (K,) int64, how many scores the model gave in the query.
        hit: (K,) bool, whether the row is relevant.
        relevant: (K,) int64, how many relevant rows the query has, with and without a score.
    """

    query: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    hit: npt.NDArray[np.bool_]
    relevant: npt.NDArray[np.int64]

    @classmethod
    def of(cls, place: Places, relevant: npt.NDArray[np.bool_], candidates: Candidates) -> Lists:
        """From one model's ``place`` (N,), NaN where it has no score, and ``relevant`` (N,)."""
        rows = np.flatnonzero(~np.isnan(place))
        in_query = np.repeat(sums(relevant, candidates.offsets), candidates.lengths)
        return cls(
            candidates.rows[rows],
            place[rows].astype(np.int64),
            lengths_of(place, candidates)[rows],
            relevant[rows],
            in_query[rows].astype(np.int64),
        )

    def __len__(self) -> int:
        """How many lists: each has one first place."""
        return int((self.place == 1).sum())

    def at_places(self) -> tuple[FloatArray, FloatArray]:
        """How many lists reach each place, from the first to the deepest, and how many hit there.

        Returns:
            ``seen`` and ``hits``, (D,) float64; ``seen`` never rises.
        """
        seen = np.bincount(self.place)[1:]
        hits = np.bincount(self.place[self.hit], minlength=len(seen) + 1)[1:]
        return seen.astype(np.float64), hits.astype(np.float64)


class PlaceMethod(WorthMethod):
    """A method whose worths are looked up by place in what was learnt of each model.

    Tables are kept by the models' names, so models may come in any order, and fewer than in `fit`.
    """

    by_rank = True

    def __init__(self, config: object = None, *, name: str | None = None) -> None:
        super().__init__(config, name=name)
        #: model -> what `learn` gave
        self._tables: dict[str, FloatArray] = {}

    @property
    def learns(self) -> bool:
        """Always."""
        return True

    @abstractmethod
    def learn(self, lists: Lists) -> FloatArray:
        """(T,) float64 without NaN: what is kept of one model, whose lists may be none at all."""

    @abstractmethod
    def at(self, place: Places, table: FloatArray, candidates: Candidates) -> FloatArray:
        """(N,) float64: the worth of each row's ``place`` by what `learn` gave, NaN where it is."""

    def worth(self, candidates: Candidates) -> FloatArray:
        """(M, N) float64: what each model's place of each row is worth.

        Raises:
            NotFittedError: before `fit`, or for a model that `fit` did not see.
        """
        tables = [self._table(model) for model in candidates.models]
        out = np.empty((len(tables), len(candidates)))
        for m, place in enumerate(ranks(candidates).T):
            out[m] = self.at(place, tables[m], candidates)
        return out

    def fit(self, candidates: Candidates, labels: npt.NDArray[np.float32]) -> None:
        """Learn each model's table, then what the base does; forget what was learnt before.

        Args:
            candidates: scores by models that had not seen the labels.
            labels: (N,), above 0 = relevant.

        Raises:
            DataError: another number of labels than of rows.
        """
        if len(labels) != len(candidates):
            expected = f"{len(candidates)} labels, one a candidate"
            raise DataError(explain(self.name, expected, str(len(labels))))
        relevant = np.asarray(labels) > 0
        self._tables = {
            model: self.learn(Lists.of(place, relevant, candidates))
            for model, place in zip(candidates.models, ranks(candidates).T, strict=True)
        }
        super().fit(candidates, labels)

    def state(self) -> dict[str, Any]:
        """``tables``: model -> numbers, beside what the base has."""
        tables = {model: floats_to_json(table) for model, table in self._tables.items()}
        return {**super().state(), "tables": tables} if tables else super().state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        super().restore(state)
        self._tables = {
            model: floats_from_json(table) for model, table in state.get("tables", {}).items()
        }

    def _table(self, model: str) -> FloatArray:
        if model not in self._tables:
            known = ", ".join(self._tables)
            got = f"one fitted on {known}" if known else "an unfitted one"
            expected = f"a method fitted on out-of-window scores of {model!r}"
            raise NotFittedError(explain(self.name, expected, got, "call fit with its scores"))
        return self._tables[model]


def deepest(candidates: Candidates) -> int:
    """The deepest place that there may be."""
    return int(candidates.lengths.max(initial=0))


def look_up(curve: FloatArray, place: Places) -> FloatArray:
    """(N,) float64: ``curve[place - 1]``; NaN where ``place`` is."""
    padded = np.concatenate([[np.nan], curve])
    found: FloatArray = padded.take(np.fmax(place, 0).astype(np.intp))  # fmax passes over NaN
    return found


def lengths_of(place: Places, candidates: Candidates) -> npt.NDArray[np.int64]:
    """(N,) int64: how many scores the model of the ranks ``place`` gave in each row's query."""
    unscored = np.isnan(place)
    if not unscored.any():
        return np.repeat(candidates.lengths, candidates.lengths)
    scored = sums(~unscored, candidates.offsets).astype(np.int64)
    return np.repeat(scored, candidates.lengths)


def precision(lists: Lists, ends: Sequence[int]) -> FloatArray:
    """(S,) float64: the share of hits in each segment, averaged over the lists.

    Segment ``s`` is the places after ``ends[s - 1]`` up to ``ends[s]``. Places that a list does not
    reach count as misses, so that a short list is not taken for a good one. NaN for a segment that
    no list reaches.
    """
    seen, hits = lists.at_places()
    out = np.full(len(ends), np.nan)
    for s, (start, end) in enumerate(pairwise((0, *ends))):
        if start < len(seen):
            out[s] = hits[start:end].sum() / (end - start) / len(lists)
    return out


def by_segment(values: FloatArray, ends: Sequence[int], depth: int) -> FloatArray:
    """(depth,) float64: ``values`` (S,) by place; after the last segment the least of them."""
    segment = np.searchsorted(ends, np.arange(1, depth + 1))
    spread: FloatArray = np.append(values, values.min(initial=np.inf))[segment]
    return spread


def least_for_unseen(values: FloatArray) -> FloatArray:
    """``values`` (S,), with the least of them in the place of NaN; 0 where nothing was seen.

    What nobody saw is worth no more than the worst that was seen: a bound, not a guess.
    """
    least = np.fmin.reduce(values, initial=np.inf)
    filled: FloatArray = np.where(np.isnan(values), least if np.isfinite(least) else 0.0, values)
    return filled


def rising(ends: tuple[int, ...]) -> tuple[int, ...]:
    """``ends``, if they rise from 1 or more.

    Raises:
        ValueError: they do not (pydantic turns it into an error of the configuration).
    """
    if not ends or any(left >= right for left, right in pairwise((0, *ends))):
        raise ValueError(f"ends of segments must rise from 1 or more, got {list(ends)}")
    return ends
