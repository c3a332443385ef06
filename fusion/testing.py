"""Contract suites for plug-ins: subclass one with pytest and every rule of the protocol is tested.

Example:
    ::

        from fusion.testing import RetrieverContract

        class TestMyRetriever(RetrieverContract):
            plugin = MyRetriever
            options = {"size": 8}

            @pytest.fixture(scope="class")
            @classmethod
            def data(cls) -> Dataset: ...          # at least three users with three events each

Both suites fit the model once a class. Tolerances, and the few things that are a matter of the
model's nature (may it answer without a history?), are class attributes. This module needs pytest
and never imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from fusion.candidates import Candidates, Missing, Scores
from fusion.data.dataset import Dataset
from fusion.errors import NotFittedError
from fusion.protocols import FitContext, Model, Ranker, RankerConfig, Retriever, RetrieverConfig
from fusion.queries import Queries
from fusion.ragged import Ragged

__all__ = ["ModelContract", "RankerContract", "RetrieverContract"]

#: what a pickle may hide in
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz", ".ckpt"}


def all_items(queries: Queries, n_items: int) -> Candidates:
    """Every item of the catalogue as a candidate of every query."""
    count = len(queries)
    return Candidates.bare(
        np.arange(count + 1, dtype=np.int64) * n_items,
        np.tile(np.arange(n_items, dtype=np.int32), count),
    )


def same(left: Scores, right: Scores, tolerance: float) -> None:
    """Fail unless both hold the same numbers, within ``tolerance``, and the same reasons."""
    np.testing.assert_array_equal(left.why, right.why)
    np.testing.assert_allclose(left.values, right.values, rtol=tolerance, atol=tolerance)


class ModelContract:
    """What holds of every model; subclass `RetrieverContract` or `RankerContract` instead.

    Attributes:
        plugin: the class under test.
        options: its configuration.
        tolerance: how far two scores of one pair may differ between batches, absolute and relative.
        retrained_tolerance: the same between two models fitted from one seed.
        needs_history: whether a query without a history is cold.
        max_queries: how many queries a test asks at most; lower it for slow models.
    """

    plugin: ClassVar[type[Model]]
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    tolerance: ClassVar[float] = 1e-5
    retrained_tolerance: ClassVar[float] = 1e-5
    needs_history: ClassVar[bool] = True
    max_queries: ClassVar[int] = 8

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls) -> Dataset:
        """A small data set: at least three users with three events each."""
        raise NotImplementedError(f"{cls.__name__} needs a fixture `data`")

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls) -> Callable[[], Model]:
        """Makes a fresh model that is not fitted: ``plugin`` with ``options``."""
        return lambda: cls.plugin(dict(cls.options))

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, make: Callable[[], Model], data: Dataset) -> Model:
        """The model, fitted on ``data``."""
        fitted = make()
        fitted.fit(data, FitContext(seed=3))
        return fitted

    @pytest.fixture(scope="class")
    @classmethod
    def queries(cls, data: Dataset) -> Queries:
        """Users of ``data``, nothing excluded."""
        users = np.flatnonzero(np.diff(data.offsets) > 0)[: cls.max_queries]
        return data.queries(users, exclude_seen=False)

    @pytest.fixture(scope="class")
    @classmethod
    def candidates(cls, queries: Queries, data: Dataset) -> Candidates:
        """What the scoring tests ask about: the whole catalogue for every query."""
        return all_items(queries, data.n_items)

    @pytest.fixture(scope="class")
    @classmethod
    def scores(cls, model: Model, queries: Queries, candidates: Candidates) -> Scores:
        """The fitted model's word on ``candidates``."""
        return model.score(queries, candidates)

    def test_scores_keep_the_rules_of_the_type(
        self, scores: Scores, candidates: Candidates
    ) -> None:
        """float32, one a row, finite or NaN, a reason exactly where NaN; some are there."""
        assert scores.values.dtype == np.float32
        assert scores.why.dtype == np.uint8
        candidates.with_scores("model", scores).checked()
        assert (scores.why == Missing.PRESENT).any(), "the model has no score for anything"

    def test_one_query_alone_scores_as_in_the_batch(
        self, model: Model, queries: Queries, candidates: Candidates, scores: Scores
    ) -> None:
        """Batch equals single."""
        for q in range(min(3, len(queries))):
            at = slice(candidates.offsets[q], candidates.offsets[q + 1])
            alone = model.score(queries.take(np.array([q])), candidates.take(np.array([q])))
            same(alone, Scores(scores.values[at], scores.why[at]), self.tolerance)

    def test_the_order_of_queries_does_not_matter(
        self, model: Model, queries: Queries, candidates: Candidates, scores: Scores
    ) -> None:
        """Permuting the queries permutes the scores."""
        order = np.arange(len(queries))[::-1]
        turned = model.score(queries.take(order), candidates.take(order))
        back = candidates.with_scores("model", scores).take(order)
        same(turned, Scores(back.scores[:, 0], back.why[:, 0]), self.tolerance)

    def test_a_score_depends_on_its_own_row_only(
        self, model: Model, queries: Queries, candidates: Candidates, scores: Scores
    ) -> None:
        """Leaving out other candidates, and turning the rest round, changes nothing."""
        keep = np.arange(len(candidates)) % 3 == 1
        some = candidates.where(keep)
        rows = np.concatenate(
            [np.arange(some.offsets[q], some.offsets[q + 1])[::-1] for q in range(some.n_queries)]
        )
        turned = replace(some, items=some.items[rows])
        found = model.score(queries, turned)
        expected = Scores(scores.values[keep][rows], scores.why[keep][rows])
        same(found, expected, self.tolerance)

    def test_no_queries_and_no_candidates(self, model: Model, queries: Queries) -> None:
        """An empty batch, and a batch whose queries have no candidates."""
        none = np.empty(0, np.int64)
        for asked in (queries.take(none), queries):
            empty = Candidates.bare(np.zeros(len(asked) + 1, np.int64), np.empty(0, np.int32))
            found = model.score(asked, empty)
            assert found.values.shape == found.why.shape == (0,)

    def test_a_query_without_history(self, model: Model, data: Dataset) -> None:
        """It is cold (``needs_history``), or it has scores; it never fails."""
        nobody = Queries.from_history(Ragged.empty(2))
        found = model.score(nobody, all_items(nobody, data.n_items))
        if self.needs_history:
            assert (found.why == Missing.COLD).all()
        else:
            assert (found.why == Missing.PRESENT).any()

    def test_an_unknown_user_is_answered_from_the_history(
        self, model: Model, queries: Queries, candidates: Candidates
    ) -> None:
        """Nobody of the data set, no times, no ratings: the model still has scores."""
        unknown = Queries.from_history(queries.history, exclude_seen=False)
        found = model.score(unknown, candidates)
        candidates.with_scores("model", found).checked()
        assert (found.why == Missing.PRESENT).any()

    def test_not_fitted(self, make: Callable[[], Model], queries: Queries, data: Dataset) -> None:
        """Asking before `fit` is an error of the project's tree."""
        with pytest.raises(NotFittedError):
            make().score(queries, all_items(queries, data.n_items))

    def test_the_same_seed_gives_the_same_scores(
        self,
        make: Callable[[], Model],
        data: Dataset,
        queries: Queries,
        candidates: Candidates,
        scores: Scores,
    ) -> None:
        """Fitted again from the seed, the model says the same; global random state is not used."""
        again = make()
        again.fit(data, FitContext(seed=3))
        same(again.score(queries, candidates), scores, self.retrained_tolerance)

    def test_save_and_load(
        self,
        make: Callable[[], Model],
        model: Model,
        data: Dataset,
        queries: Queries,
        candidates: Candidates,
        scores: Scores,
        tmp_path: Path,
    ) -> None:
        """A loaded model gives the same scores, and no file of it can hold a pickle."""
        model.save(tmp_path)
        files = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert files, "nothing was saved"
        suspects = [file.name for file in files if file.suffix in _PICKLES]
        assert not suspects, f"may hold a pickle: {suspects}"
        loaded = make()
        loaded.load(tmp_path, data)
        same(loaded.score(queries, candidates), scores, self.tolerance)

    def test_an_unknown_option_is_refused(self, make: Callable[[], Model]) -> None:
        """A typo in the configuration does not pass in silence."""
        with pytest.raises(ValidationError, match="no_such_option"):
            type(make())({"no_such_option": 1})


class RetrieverContract(ModelContract):
    """What holds of every retriever.

    Attributes:
        exact: whether `retrieve` finds the very best; an approximate index sets it to False.
    """

    exact: ClassVar[bool] = True

    @staticmethod
    def _lists(found: Candidates) -> list[dict[int, float]]:
        column = found.scores[:, 0]
        return [
            dict(
                zip(
                    found.items[found.offsets[q] : found.offsets[q + 1]].tolist(),
                    column[found.offsets[q] : found.offsets[q + 1]].tolist(),
                    strict=True,
                )
            )
            for q in range(found.n_queries)
        ]

    def test_is_a_retriever(self, make: Callable[[], Retriever]) -> None:
        """By its class, and so is its configuration."""
        made = make()
        assert isinstance(made, Retriever)
        assert isinstance(made.config, RetrieverConfig)

    @pytest.mark.parametrize("n", [1, 5, 10_000])
    def test_lists_are_short_unique_and_allowed(
        self, model: Retriever, data: Dataset, n: int
    ) -> None:
        """At most ``n`` items, each once, none excluded, every one with a score."""
        users = np.flatnonzero(np.diff(data.offsets) > 0)[: self.max_queries]
        queries = data.queries(users)
        found = model.retrieve(queries, n).checked()
        assert found.models == (model.name,)
        assert found.n_queries == len(queries)
        assert found.lengths.max(initial=0) <= n
        assert not np.isnan(found.scores).any()
        for items, barred in zip(self._lists(found), queries.excluded, strict=True):
            assert not set(items) & set(barred.tolist())
        assert len(found) > 0

    def test_scores_are_those_of_score(self, model: Retriever, queries: Queries) -> None:
        """`retrieve` and `score` agree on every item found."""
        found = model.retrieve(queries, 7)
        same(model.score(queries, found), Scores.of(found.scores[:, 0]), self.tolerance)

    def test_the_best_are_found(
        self, model: Retriever, queries: Queries, candidates: Candidates, scores: Scores
    ) -> None:
        """No item left out scores higher than one that is listed (exact retrievers)."""
        if not self.exact:
            pytest.skip("approximate by nature")
        found = model.retrieve(queries, 5)
        matrix: npt.NDArray[np.float32] = np.nan_to_num(
            scores.values.reshape(len(queries), -1), nan=-np.inf
        )
        for q, items in enumerate(self._lists(found)):
            if not items:
                continue
            others = np.delete(matrix[q], list(items))
            others = others[others != 0]  # no evidence is not retrieved
            room = self.tolerance * (1 + abs(min(items.values())))
            if len(items) == 5:
                assert others.max(initial=-np.inf) <= min(items.values()) + room

    def test_one_query_alone_retrieves_as_in_the_batch(
        self, model: Retriever, queries: Queries
    ) -> None:
        """Batch equals single, and the order of queries does not matter."""
        together = self._lists(model.retrieve(queries, 5))
        order = np.arange(len(queries))[::-1]
        turned = self._lists(model.retrieve(queries.take(order), 5))
        for q, expected in enumerate(together):
            alone = self._lists(model.retrieve(queries.take(np.array([q])), 5))[0]
            for other in (alone, turned[len(queries) - 1 - q]):
                assert sorted(other) == sorted(expected)
                assert list(other.values()) == pytest.approx(
                    list(expected.values()), rel=self.tolerance, abs=self.tolerance
                )

    def test_nobody_and_everything_excluded(self, model: Retriever, data: Dataset) -> None:
        """No query, no history, and a user who has seen everything: lists, perhaps empty."""
        none = model.retrieve(data.queries(np.empty(0, np.int64)), 5)
        assert none.n_queries == len(none) == 0
        nobody = model.retrieve(Queries.from_history(Ragged.empty(2)), 5)
        assert nobody.n_queries == 2
        assert (len(nobody) == 0) == self.needs_history
        everything = Ragged.of([range(data.n_items)])
        assert len(model.retrieve(Queries.from_history(everything), 5)) == 0

    def test_retrieve_before_fit(self, make: Callable[[], Retriever], queries: Queries) -> None:
        """It is an error of the project's tree."""
        with pytest.raises(NotFittedError):
            make().retrieve(queries, 5)

    def test_a_loaded_model_retrieves_the_same(
        self,
        make: Callable[[], Retriever],
        model: Retriever,
        data: Dataset,
        queries: Queries,
        tmp_path: Path,
    ) -> None:
        """The lists survive `save` and `load`."""
        model.save(tmp_path)
        loaded = make()
        loaded.load(tmp_path, data)
        before = self._lists(model.retrieve(queries, 5))
        after = self._lists(loaded.retrieve(queries, 5))
        assert [sorted(items) for items in after] == [sorted(items) for items in before]


class RankerContract(ModelContract):
    """What holds of every ranker."""

    def test_is_a_ranker(self, make: Callable[[], Ranker]) -> None:
        """By its class, and so is its configuration."""
        made = make()
        assert isinstance(made, Ranker)
        assert isinstance(made.config, RankerConfig)
