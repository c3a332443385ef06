"""Many users at once: the same lists however they are worked on, in bounded memory."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from itertools import count as numbers
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import engine_of, failing, ids

import fusion.serving.batching as batching
from fusion import Dataset, Engine
from fusion.candidates import Candidates, Scores
from fusion.errors import DataError, ModelError, UnknownUserError
from fusion.serving.batching import Tally, in_order

#: seconds after which a wait in these tests has failed
LONG = 20.0


@pytest.fixture(scope="module")
def engine(tiny: Dataset) -> Engine:
    return engine_of(tiny, fallback="low")


@pytest.fixture
def own(tiny: Dataset) -> Engine:
    """One whose models may be changed."""
    return engine_of(tiny, fallback="low")


# --- in_order ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers()), st.integers(0, 4))
def test_results_come_in_order(items: list[int], ahead: int) -> None:
    assert list(in_order(lambda n: n * n, items, ahead)) == [n * n for n in items]


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_no_more_than_ahead_is_taken_beforehand(ahead: int) -> None:
    taken = []

    def source() -> Iterator[int]:
        for n in numbers():
            taken.append(n)
            yield n

    results = in_order(lambda n: n, source(), ahead)
    for expected in range(4):
        assert next(results) == expected
        assert len(taken) == expected + 1 + (ahead + 1 if ahead else 0)
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_an_error_comes_at_its_turn_and_nothing_is_begun_after_it(ahead: int) -> None:
    begun = []

    def work(n: int) -> int:
        begun.append(n)
        if n == 3:
            raise ZeroDivisionError
        return n

    results = in_order(work, range(100), ahead)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert max(begun) <= 3 + ahead


def test_who_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    results = in_order(lambda n: n, numbers(), 3)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


# --- recommend_many ---------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("batch", [1, 7, 256])
def test_overlapping_changes_nothing(engine: Engine, tiny: Dataset, batch: int, ahead: int) -> None:
    users = [*tiny.users.ids, "stranger", *tiny.users.ids[:5]]
    alone = engine.recommend_many(users, k=6, batch=batch, ahead=0)
    assert engine.recommend_many(users, k=6, batch=batch, ahead=ahead).equals(alone)
    assert alone["item_id"].to_pylist() == [
        item for user in users for item in ids(engine.recommend(user, k=6))
    ]


def test_none_is_every_user(engine: Engine, tiny: Dataset) -> None:
    assert engine.recommend_many(k=3).equals(engine.recommend_many(list(tiny.users.ids), k=3))


def test_every_user_without_a_fallback_is_who_has_events(tiny: Dataset) -> None:
    some = tiny.where(tiny.interactions.users != tiny.users.index("u4"))
    told = engine_of(some).recommend_many(k=1)["user_id"].to_pylist()
    assert told == [user for user in tiny.users.ids if user != "u4"]
    assert "u4" in engine_of(some, fallback="low").recommend_many(k=1)["user_id"].to_pylist()


def test_users_are_read_as_they_are_needed(engine: Engine) -> None:
    asked = []

    def users() -> Iterator[str]:
        for u in range(12):
            asked.append(u)
            yield f"u{u}"

    table = engine.recommend_many(users(), k=2, batch=5)
    assert asked == list(range(12))
    assert table["user_id"].to_pylist() == [f"u{u}" for u in range(12) for _ in range(2)]


def test_the_schema_does_not_depend_on_the_rows(engine: Engine) -> None:
    kinds = {"user_id": pa.string(), "item_id": pa.string(), "score": pa.float64()}
    for users in ([], ["u1"]):
        schema = engine.recommend_many(users).schema
        assert dict(zip(schema.names, schema.types, strict=True)) == {**kinds, "rank": pa.int32()}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"user_ids": "u1"}, r"several user ids.*'u1'.*\['u1'\]"),
        ({"batch": 0}, "batch as a whole number of at least 1, got 0"),
        ({"ahead": -1}, "ahead as a whole number of at least 0, got -1"),
        ({"ahead": True}, "ahead"),
        ({"user_ids": [3]}, "user_id: expected text"),
    ],
)
def test_what_is_refused(engine: Engine, wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        engine.recommend_many(**{"user_ids": ["u1"], **wrong})


def test_a_failing_batch_is_told(own: Engine, tiny: Dataset) -> None:
    own.models["high"].hook = failing  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="boom"):
        own.recommend_many(batch=3)
    with pytest.raises(UnknownUserError):
        engine_of(tiny).recommend_many(["u1", "u2", "stranger"], batch=1)


def test_one_batch_is_retrieved_while_another_is_in_a_large_model(own: Engine) -> None:
    """The ranker does not answer for the first batch before the second is being retrieved."""
    second_is_retrieved, overlapped = threading.Event(), []
    low: Any = own.models["low"]
    high: Any = own.models["high"]
    low.asked = high.asked = 0

    def retrieving(found: Candidates) -> Candidates:
        if low.asked == 2:
            second_is_retrieved.set()
        return found

    def ranking(scores: Scores) -> Scores:
        if high.asked == 1:
            overlapped.append(second_is_retrieved.wait(LONG))
        return scores

    low.hook, high.hook = retrieving, ranking
    own.recommend_many(["u1", "u2"], batch=1, ahead=1)
    assert overlapped == [True]


def test_without_looking_ahead_everything_happens_here(own: Engine) -> None:
    asked_by: set[int] = set()

    def noting(answer: Any) -> Any:
        asked_by.add(threading.get_ident())
        return answer

    own.models["low"].hook = own.models["high"].hook = noting  # type: ignore[attr-defined]
    own.recommend_many(["u1", "u2", "u3"], batch=1, ahead=0)
    assert asked_by == {threading.get_ident()}


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_memory_does_not_grow_with_the_users(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, ahead: int
) -> None:
    made: list[weakref.ref[Any]] = []
    most = [0]
    real = batching.Batch

    def watched(*fields: Any) -> Any:
        batch = real(*fields)
        made.append(weakref.ref(batch))
        return batch

    def users() -> Iterator[str]:
        for u in range(60):
            most[0] = max(most[0], sum(ref() is not None for ref in made))
            yield f"u{u % 40}"

    monkeypatch.setattr(batching, "Batch", watched)
    done = engine.recommend_many(users(), k=2, out=tmp_path / "x.parquet", batch=1, ahead=ahead)
    assert done.users == len(made) == 60
    assert most[0] <= ahead + 3  # under way, waiting, and the one in the writer's hands


def test_exploration_draws_in_the_order_of_the_batches(tiny: Dataset) -> None:
    def lists(ahead: int) -> list[str]:
        engine = engine_of(tiny, after=[{"name": "epsilon", "epsilon": 0.9}], fallback="low")
        users = ["u1", "stranger", "u2", "u3", "u1"]
        table = engine.recommend_many(users, k=5, batch=2, ahead=ahead)
        return table["item_id"].to_pylist()

    assert lists(0) == lists(2)


def test_tallies_add_up() -> None:
    one, other = Tally({"a": {"reason": "x", "users": 2}}, {"r": 1}), Tally()
    other.add(one)
    other.add(Tally({"a": {"reason": "y", "users": 3}}, {"r": 4, "s": 1}))
    assert other.to_json() == {
        "failed": {"a": {"reason": "x", "users": 2 + 3}},
        "removed": {"r": 1 + 4, "s": 1},
    }
    assert one.failed["a"]["users"] == 2
