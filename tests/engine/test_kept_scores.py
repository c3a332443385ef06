"""Scores that a killed run had computed are not computed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion import kept_scores
from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Dataset
from fusion.engine import Engine
from fusion.errors import DataError
from fusion.kept_scores import score_all, scores_key
from fusion.pool import LivePool
from fusion.protocols import FitContext, Ranker, RankerConfig
from fusion.queries import Queries


class Killed(BaseException):
    """What a signal does to a run: no `except Exception` sees it."""


class Failing(Ranker):
    """Scores by item index, until it was asked for more queries than ``bears``."""

    Config = RankerConfig
    bears = 10**9
    queries = 0

    def fit(self, data: Dataset, context: FitContext) -> None:
        del data, context

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        if self.queries + len(queries) > self.bears:
            raise Killed
        self.queries += len(queries)
        return Scores.of(candidates.items.astype(np.float32))

    def save(self, folder: Path) -> None:
        del folder

    def load(self, folder: Path, data: Dataset) -> None:
        del folder, data


@pytest.fixture
def pool_of(tiny: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kept_scores, "_STEP", 2)
    config = {"retrievers": {"ease": {"n": 8}, "popularity": {"n": 8}}, "stacking": None}
    engine = Engine.from_config(config).fit(tiny)
    popularity = tiny.popularity / len(tiny)

    def made(ranker: Failing, users: int = 5) -> LivePool:
        models = {**engine.models, "failing": ranker}
        return LivePool(tiny.queries(np.arange(users)), models, popularity)

    return made


def test_a_killed_run_goes_on_inside_a_model(pool_of, tmp_path: Path) -> None:
    score_all(whole := pool_of(Failing({"top": 3}, name="failing")), None)
    killed = Failing({"top": 3}, name="failing")
    killed.bears = 4
    with pytest.raises(Killed):
        score_all(pool_of(killed), tmp_path / "scores", every=0)
    assert killed.queries == 4
    next_one = Failing({"top": 3}, name="failing")
    score_all(again := pool_of(next_one), tmp_path / "scores", every=0)
    assert next_one.queries == 1  # five users, four of whom the killed run had scored
    want, got = whole.freeze(), again.freeze()
    np.testing.assert_array_equal(got.completed.scores, want.completed.scores)
    np.testing.assert_array_equal(got.completed.why, want.completed.why)
    np.testing.assert_array_equal(got.union.items, want.union.items)


def test_a_finished_run_asks_nobody(pool_of, tmp_path: Path) -> None:
    score_all(pool_of(Failing(name="failing")), tmp_path / "scores")
    nobody = Failing(name="failing")
    nobody.bears = 0
    score_all(pool_of(nobody), tmp_path / "scores")


def test_an_altered_file_is_scored_again(
    pool_of, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    score_all(pool_of(Failing(name="failing")), tmp_path / "scores")
    (tmp_path / "scores" / "pool.json").write_text("{}")
    ranker = Failing(name="failing")
    score_all(pool_of(ranker), tmp_path / "scores")
    assert ranker.queries == 5
    assert "scored again" in caplog.text


def test_scores_of_other_queries_are_refused(pool_of, tmp_path: Path) -> None:
    score_all(pool_of(Failing(name="failing")), tmp_path / "scores")
    with pytest.raises(DataError, match="Pool"):
        score_all(pool_of(Failing(name="failing"), users=3), tmp_path / "scores")


def test_the_key_changes_with_the_models_and_the_queries(tiny: Dataset) -> None:
    five, three = tiny.queries(np.arange(5)), tiny.queries(np.arange(3))
    keys = [
        scores_key({"a": "1", "b": "2"}, five),
        scores_key({"b": "2", "a": "1"}, five),
        scores_key({"a": "1", "b": "3"}, five),
        scores_key({"a": "1", "b": "2"}, three),
    ]
    assert len(set(keys)) == 4
    assert keys[0] == scores_key({"a": "1", "b": "2"}, five)


def test_fitting_an_engine_keeps_the_scores_of_its_window(tiny: Dataset, tmp_path: Path) -> None:
    config = {
        "retrievers": {"ease": {"n": 8}, "popularity": {"n": 8}},
        "fusion": {"mode": "parallel", "method": "rrf"},
        "stacking": {"window": "leave_last_out", "events": 1},
    }
    first = Engine.from_config(config).fit(tiny, workdir=tmp_path)
    (kept,) = (tmp_path / "scores").iterdir()
    written = (kept / "pool.safetensors").stat().st_mtime_ns
    second = Engine.from_config(config).fit(tiny, workdir=tmp_path)
    assert [*(tmp_path / "scores").iterdir()] == [kept]
    assert (kept / "pool.safetensors").stat().st_mtime_ns == written
    users = list(tiny.users.ids)
    assert second.recommend_many(users).equals(first.recommend_many(users))
