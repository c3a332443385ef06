from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusion import Dataset, Engine
from fusion.candidates import Candidates, Missing, Scores
from fusion.data.dataset import Dataset as Data
from fusion.errors import DataError
from fusion.pool import LivePool, top_rows
from fusion.pool_storage import load_pool, save_pool
from fusion.protocols import FitContext, Ranker, RankerConfig
from fusion.queries import Queries
from fusion.ragged import Ragged


class Counting(Ranker):
    """A ranker for tests: prefers high indices and counts the rows it is asked for."""

    Config = RankerConfig

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.asked = 0

    def fit(self, data: Data, context: FitContext) -> None:
        del data, context

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        self.asked += len(candidates)
        return Scores.of(candidates.items.astype(np.float32))

    def save(self, folder: Path) -> None:
        (folder / "counting.json").write_text("{}")

    def load(self, folder: Path, data: Data) -> None:
        del folder, data


@pytest.fixture
def engine(tiny: Dataset) -> Engine:
    config = {"retrievers": {"ease": {"n": 8}, "popularity": {"n": 8}}, "stacking": None}
    return Engine.from_config(config).fit(tiny)


def live(engine: Engine, tiny: Dataset, ranker: Ranker) -> LivePool:
    queries = tiny.queries(np.arange(5))
    return LivePool(queries, {**engine.models, "counting": ranker}, tiny.popularity / len(tiny))


def test_retrievers_score_the_whole_union(engine: Engine, tiny: Dataset) -> None:
    pool = live(engine, tiny, Counting(name="counting"))
    union = pool.candidates()
    assert (union.why == Missing.NOT_RETRIEVED).any()
    completed = pool.complete(union, ("ease", "popularity"))
    assert not np.isnan(completed.scores).any()
    came = ~np.isnan(union.scores)
    np.testing.assert_allclose(completed.scores[came], union.scores[came], rtol=1e-5)


def test_a_ranker_sees_only_its_top_rows_and_each_once(engine: Engine, tiny: Dataset) -> None:
    ranker = Counting({"top": 3}, name="counting")
    pool = live(engine, tiny, ranker)
    union = pool.candidates()
    column = pool.complete(union, ("counting",))
    asked = column.why[:, 0] == Missing.PRESENT
    assert np.bincount(union.rows[asked]).tolist() == [3] * 5
    assert (column.why[~asked, 0] == Missing.FILTERED).all()
    assert ranker.asked == 15
    pool.complete(union, ("ease", "counting"))
    assert ranker.asked == 15
    few = union.where(asked)
    np.testing.assert_array_equal(
        pool.complete(few, ("counting",)).scores[:, 0], column.scores[asked, 0]
    )
    assert ranker.asked == 15


def test_candidates_from_elsewhere_are_refused(engine: Engine, tiny: Dataset) -> None:
    pool = live(engine, tiny, Counting(name="counting"))
    stranger = Candidates.bare(np.array([0, 1, 1, 1, 1, 1]), np.array([10**6], np.int32))
    with pytest.raises(DataError, match="its own union"):
        pool.complete(stranger, ("ease",))


def test_a_frozen_pool_answers_like_the_live_one(
    engine: Engine, tiny: Dataset, tmp_path: Path
) -> None:
    pool = live(engine, tiny, Counting({"top": 4}, name="counting"))
    stored = pool.freeze()
    save_pool(tmp_path, stored)
    back = load_pool(tmp_path)
    union = pool.candidates()
    asked = stored.completed.why[:, 2] == Missing.PRESENT
    keep = top_rows(union, np.where(asked, union.items, -1), 3)
    for models in (("ease",), ("counting", "popularity")):
        for rows in (union, union.where(keep)):
            want = pool.complete(rows, models)
            for other in (stored, back):
                got = other.complete(rows, models)
                np.testing.assert_array_equal(got.scores, want.scores)
                np.testing.assert_array_equal(got.offsets, want.offsets)
    again = live(engine, tiny, ranker := Counting({"top": 4}, name="counting"))
    again.recall(back)
    np.testing.assert_array_equal(again.freeze().completed.scores, stored.completed.scores)
    assert ranker.asked == 0
    assert back.models == ("ease", "popularity", "counting")
    one = back.take(np.array([2]))
    assert one.candidates().items.tolist() == union.take(np.array([2])).items.tolist()


def test_top_rows_breaks_ties_by_item() -> None:
    c = Candidates.bare(np.array([0, 3]), np.array([4, 1, 2], np.int32))
    assert top_rows(c, np.array([1.0, 1.0, 1.0]), 2).tolist() == [False, True, True]


def test_a_ranker_that_sees_everything_needs_no_order(engine: Engine, tiny: Dataset) -> None:
    pool = live(engine, tiny, Counting({"top": 1000}, name="counting"))
    union = pool.candidates()
    pool.complete(union, ("counting",))
    assert pool.asker.runs["ease"].score_ms == 0  # no retriever had to score the others' rows
    same = live(engine, tiny, Counting({"top": int(union.lengths.max())}, name="counting"))
    other = live(engine, tiny, Counting({"top": int(union.lengths.max()) - 1}, name="counting"))
    for limited, full in ((same, True), (other, False)):
        column = limited.complete(limited.candidates(), ("counting",))
        assert (column.why == Missing.PRESENT).all() == full


def test_a_query_without_candidates_stays_empty(engine: Engine, tiny: Dataset) -> None:
    queries = tiny.queries(np.arange(3), exclude_seen=False)
    everything = Ragged.of([[], range(tiny.n_items), []])
    pool = LivePool(
        replace(queries, excluded=everything), engine.models, tiny.popularity / len(tiny)
    )
    union = pool.candidates()
    assert union.lengths[1] == 0
    completed = pool.complete(union, pool.models)
    np.testing.assert_array_equal(completed.lengths, union.lengths)
    assert not np.isnan(completed.scores).any()
