from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuning.negatives import Sampler, hard, log_q, met, mixed
from finetuning.settings import HardNegatives
from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Catalog, Dataset, Interactions
from fusion.data.vocabulary import Vocabulary
from fusion.errors import ConfigError, DataError
from fusion.protocols import FitContext, Ranker, Retriever
from fusion.queries import Queries
from fusion.ragged import Ragged


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_chances_by_hand() -> None:
    sampler = Sampler.by_popularity([16, 1, 0], power=0.5, share=0.5)
    # popular: 4/5, 1/5, 0; uniform: 1/3 each
    np.testing.assert_allclose(sampler.chances, [0.4 + 1 / 6, 0.1 + 1 / 6, 1 / 6])
    some = Sampler.by_popularity([16, 1, 0], power=1.0, allowed=np.array([True, True, False]))
    np.testing.assert_allclose(some.chances, [16 / 17, 1 / 17, 0])
    np.testing.assert_allclose(Sampler.by_popularity([0, 0]).chances, [0.5, 0.5])
    np.testing.assert_allclose(Sampler.by_popularity([3, 0, 1], power=0).chances, [0.5, 0, 0.5])
    np.testing.assert_allclose(Sampler.of([1, 3]).log_q, np.log([0.25, 0.75]), rtol=1e-6)
    assert Sampler.of([1, 0]).log_q[1] == -np.inf


def test_draws_are_as_frequent_as_their_chances() -> None:
    sampler = Sampler.of([1, 2, 0, 5])
    drawn = sampler.draw(rng(), 4000, 5)
    assert drawn.shape == (4000, 5)
    assert drawn.dtype == np.int32
    shares = np.bincount(drawn.ravel(), minlength=4) / drawn.size
    np.testing.assert_allclose(shares, sampler.chances, atol=0.01)
    assert shares[2] == 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 5))
def test_what_is_to_be_avoided_is_never_drawn(seed: int, rows: int, count: int) -> None:
    generator = rng(seed)
    avoid = Ragged.of(
        generator.choice(8, generator.integers(8), replace=False) for _ in range(rows)
    )
    drawn = Sampler.of(np.ones(8)).draw(generator, rows, count, avoid=avoid)
    for row, banned in zip(drawn, avoid, strict=True):
        assert not set(row) & set(banned)


def test_the_others_keep_their_proportions() -> None:
    """Also where nearly everything is to be avoided, and drawing again does not get there."""
    avoid = Ragged.of([[0]] * 3000)
    for weights in ([1, 1, 2], [1e6, 1, 2]):
        drawn = Sampler.of(weights).draw(rng(), 3000, 4, avoid=avoid)
        assert np.mean(drawn == 2) == pytest.approx(2 / 3, abs=0.02)


def test_nothing_to_draw() -> None:
    with pytest.raises(DataError, match="2 met"):
        Sampler.of([1, 1]).draw(rng(), 1, 1, avoid=Ragged.of([[0, 1]]))
    for bad in ([0.0, 0.0], [1.0, -1.0], [np.nan], []):
        with pytest.raises(DataError, match="weights from 0 on"):
            Sampler.of(bad)


def test_log_q() -> None:
    np.testing.assert_allclose(log_q([6, 2]), np.log([0.75, 0.25]), rtol=1e-6)
    np.testing.assert_allclose(log_q([3, 0]), np.log([3 / 3.5, 0.5 / 3.5]), rtol=1e-6)
    np.testing.assert_allclose(log_q([6, 2], 4), np.log([3, 1]), rtol=1e-6)


ROWS = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 3)]


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Built by hand, so that an item's index is the number in its name."""
    items = Vocabulary("item", [f"i{n}" for n in range(10)])
    return Dataset(
        Vocabulary("user", ["a", "b"]),
        Catalog(items, ("",) * 10, items.ids),
        Interactions(
            np.array(["ab".index(user) for user, _ in ROWS], np.int32),
            np.array([item for _, item in ROWS], np.int32),
            np.arange(len(ROWS), dtype=np.float64),
            np.full(len(ROWS), np.nan, np.float32),
        ),
    )


class Fixed(Retriever):
    """Scores an item by a table, whoever asks."""

    table: npt.NDArray[np.float32] = np.arange(10, 0, -1).astype(np.float32)

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Nothing."""

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        return Scores.of(self.table[candidates.items])

    def retrieve(self, queries: Queries, n: int) -> Candidates:
        lists = []
        for banned in queries.excluded:
            order = [i for i in np.argsort(-self.table, kind="stable") if i not in set(banned)]
            lists.append([i for i in order if not np.isnan(self.table[i])][:n])
        found = Ragged.of(lists)
        return Candidates.single("fixed", found.offsets, found.values, self.table[found.values])

    def save(self, folder: Any) -> None:
        """Nothing."""

    def load(self, folder: Any, data: Dataset) -> None:
        """Nothing."""


class Other(Fixed):
    table = np.array([1, 1, 1, 1, 1, 1, 1, 1, 2, 3], np.float32)


class Unsure(Fixed):
    table = np.array([np.nan, np.nan, np.nan, np.nan, 6, 5, 4, 3, 2, 1], np.float32)


class NoRetriever(Ranker):
    fit = Fixed.fit
    score = Fixed.score
    save = Fixed.save
    load = Fixed.load


CONTEXT = FitContext(
    fitted={"fixed": Fixed(), "other": Other(), "unsure": Unsure(), "bert": NoRetriever()}
)


def mined(data: Dataset, targets: list[int], queries: Queries | None = None, **more: Any) -> Any:
    asked = data.queries(np.array([0, 1])) if queries is None else queries
    told = HardNegatives(share=0.5, **({"skip": 0, "models": ("fixed",)} | more))
    found = hard(CONTEXT, data, asked, np.array(targets), told, rng())
    return [sorted(row.tolist()) for row in found]


def test_what_a_user_met_or_meets_is_no_negative(data: Dataset) -> None:
    assert [
        row.tolist() for row in met(data, data.queries(np.array([1, 0])), np.array([5, 2]))
    ] == [
        [0, 3, 5],
        [0, 1, 2],
    ]
    assert mined(data, [4, 5], depth=3) == [[3, 5, 6], [1, 2, 4]]


def test_a_query_of_nobody_has_its_own_history_only(data: Dataset) -> None:
    nobody = Queries.from_history(Ragged.of([[0], []]))
    assert mined(data, [1, 0], nobody, depth=2) == [[2, 3], [1, 2]]


def test_a_query_of_the_past_avoids_what_its_user_met_later(data: Dataset) -> None:
    """User a after item 0 only: item 2, which comes later, is no negative of target 1."""
    past = data.where(np.array([True, False, False, True, True])).queries(np.array([0]))
    assert past.history.values.tolist() == [0]
    assert mined(data, [1], past, depth=2) == [[3, 4]]


def test_the_first_are_skipped(data: Dataset) -> None:
    assert mined(data, [4, 5], depth=4, skip=2) == [[6, 7], [4, 6]]


def test_the_margin_keeps_out_what_may_be_positive(data: Dataset) -> None:
    # user a: 3 (score 7), 5 (5), 6 (4), 7 (3), 8 (2), 9 (1); target 4 has score 6
    assert mined(data, [4, 9], margin=1.0)[0] == [5, 6, 7, 8, 9]
    # halfway from the lowest (1) to 6 is 3.5
    assert mined(data, [4, 9], margin=0.5)[0] == [7, 8, 9]
    # user b: the target 9 is the lowest of all: every other is above it
    assert mined(data, [4, 9], margin=1.0)[1] == []
    # no score of the target: no ceiling
    assert mined(data, [3, 3], models=("unsure",), margin=0.5, depth=2)[0] == [4, 5]


def test_lists_of_several_models_are_united(data: Dataset) -> None:
    assert mined(data, [4, 5], models=("fixed", "other"), depth=2) == [[3, 5, 8, 9], [1, 2, 8, 9]]


def test_the_order_is_random_and_of_the_seed(data: Dataset) -> None:
    told = HardNegatives(share=0.5, models=("fixed",), skip=0)
    first, same, other = (
        hard(CONTEXT, data, data.queries(np.array([0, 1])), np.array([4, 5]), told, rng(seed))
        for seed in (1, 1, 2)
    )
    assert first.values.tolist() == same.values.tolist() != other.values.tolist()
    assert first.offsets.tolist() == other.offsets.tolist()


def test_a_model_that_is_not_there_or_no_retriever(data: Dataset) -> None:
    for name in ("ease", "bert"):
        with pytest.raises(ConfigError, match=rf"fixed, other, unsure, got '{name}'"):
            mined(data, [4, 5], models=(name,))


def test_no_models_and_no_queries(data: Dataset) -> None:
    nothing = hard(
        CONTEXT, data, data.queries(np.array([0])), np.array([4]), HardNegatives(), rng()
    )
    assert [len(row) for row in nothing] == [0]
    assert mined(data, [], data.queries(np.empty(0, np.int64))) == []


def test_a_share_of_each_row_is_replaced() -> None:
    random = np.full((3, 4), 99, np.int32)
    found = mixed(random, Ragged.of([[1, 2, 3], [4], []]), 0.5)
    assert found.tolist() == [[1, 2, 99, 99], [4, 99, 99, 99], [99, 99, 99, 99]]
    assert (random == 99).all()
    assert mixed(random, Ragged.of([[1], [2], [3]]), 0.0).tolist() == random.tolist()
