"""Several windows in time: each is the past of the next, and what teaches was seen by no model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fusion import Dataset, Engine
from fusion.config import StackingConfig
from fusion.data.splits import Split
from fusion.errors import DataError, LeakageError
from fusion.protocols import FitContext, Labelled, Provenance
from fusion.stacking import cached_window, cut_windows, load_windows, save_windows
from fusion.strategies.learned import Learned

CONTEXT = FitContext(seed=3)
CONFIG: dict[str, Any] = {
    "seed": 3,
    "retrievers": {"item_transition": {}, "popularity": {}},
    "fusion": {"mode": "learned", "stacker": {"name": "linear"}},
}


def cut(data: Dataset, **config: Any) -> list[Split]:
    return cut_windows(StackingConfig(**config), data, CONTEXT)


def engine_of(data: Dataset, **stacking: Any) -> Engine:
    return Engine.from_config({**CONFIG, "stacking": stacking}).fit(data)


KINDS = pytest.mark.parametrize("window", ["leave_last_out", "temporal"])


@KINDS
def test_each_window_is_cut_from_the_past_of_the_next(tiny: Dataset, window: str) -> None:
    found = cut(tiny, window=window, windows=3, events=2)
    assert len(found) == 3
    sizes = [len(split.train) for split in found]
    assert sizes == sorted(sizes)
    assert sizes[-1] < len(tiny)

    def pairs(users: np.ndarray, items: np.ndarray) -> set[tuple[int, int]]:
        return set(zip(users.tolist(), items.tolist(), strict=True))

    for older, newer in zip(found, [*found[1:], None], strict=True):
        targets = pairs(older.users, older.targets.values)
        events = older.train.interactions
        assert not targets & pairs(events.users, events.items)  # nobody fitted here saw them
        if newer is not None:  # and they are known events by the next window
            later = newer.train.interactions
            assert targets <= pairs(later.users, later.items)
            if window == "temporal":
                assert events.times.max() < later.times.max()


@KINDS
def test_the_newest_window_is_the_same_however_many_there_are(tiny: Dataset, window: str) -> None:
    (alone,) = cut(tiny, window=window, windows=1, max_queries=7)
    newest = cut(tiny, window=window, windows=3, max_queries=7)[-1]
    assert alone.train.fingerprint == newest.train.fingerprint
    np.testing.assert_array_equal(alone.users, newest.users)
    np.testing.assert_array_equal(alone.targets.values, newest.targets.values)


def test_max_queries_is_for_each_window_and_each_draws_its_own(tiny: Dataset) -> None:
    found = cut(tiny, windows=3, max_queries=10)
    assert [len(split) for split in found] == [10, 10, 10]
    assert len({tuple(split.users.tolist()) for split in found}) == 3


def test_as_many_windows_as_the_data_has_events_for() -> None:
    events = [(u, i) for u, n in (("a", 4), ("b", 3)) for i in range(n)]
    table = pa.table({"user_id": [u for u, _ in events], "item_id": [f"i{i}" for _, i in events]})
    data = Dataset.from_frames(table)
    assert [len(s) for s in cut(data, windows=9)] == [1, 2, 2]
    with pytest.raises(DataError, match="timestamp"):
        cut(data, windows=2, window="temporal")


def test_an_engine_learns_from_all_of_them(tiny: Dataset) -> None:
    engine = engine_of(tiny, windows=3)
    assert len(engine.windows) == 3
    strategy = engine.strategy
    assert isinstance(strategy, Learned)
    assert len(strategy.taught) == 3
    assert all(n > 20 for n in strategy.taught)
    pasts = [window.past for window in engine.windows]
    assert [p.interactions for p in pasts] == sorted({p.interactions for p in pasts})
    for window in engine.windows:
        assert set(window.provenance.values()) == {window.past}
        # popularity is that of the window's own models
        assert window.pool.popularity.sum() == pytest.approx(1)
    shares = [window.pool.popularity for window in engine.windows]
    assert (shares[0] != shares[2]).any()
    assert len(engine.recommend("u1", k=5)) == 5


def test_one_window_of_three_teaches_what_one_alone_does(tiny: Dataset) -> None:
    """So windows can be compared over one fitted engine: the newest are always the same."""
    three, one = engine_of(tiny, windows=3), engine_of(tiny, windows=1)
    for learnt_from in (three.windows[-1:], one.windows):
        strategy = Learned({"stacker": "linear"}, name="learned")
        strategy.fit(learnt_from, CONTEXT)
        pool = one.windows[0].pool
        scores = strategy.fuse(pool).scores
        np.testing.assert_allclose(scores, one.strategy.fuse(pool).scores, rtol=1e-12)


@pytest.mark.parametrize("leaky", [0, 1, 2])
def test_a_leak_in_one_window_stops_the_lesson(tiny: Dataset, leaky: int) -> None:
    windows = list(engine_of(tiny, windows=3).windows)
    # the models of the next window, or those that answer in the end, had seen this one's answers
    seen = windows[leaky + 1].past if leaky < 2 else Provenance.of(tiny)
    bad = {**windows[leaky].provenance, "popularity": seen}
    windows[leaky] = replace(windows[leaky], provenance=bad)
    with pytest.raises(LeakageError, match="model 'popularity'"):
        Learned({"stacker": "linear"}).fit(windows, CONTEXT)
    Learned({"stacker": "linear", "models": ["item_transition"]}).fit(windows, CONTEXT)


def test_saved_windows_teach_the_same(tiny: Dataset, tmp_path: Path) -> None:
    engine = engine_of(tiny, windows=2)
    save_windows(tmp_path, engine.windows)
    again = load_windows(tmp_path)
    assert [w.past for w in again] == [w.past for w in engine.windows]
    one, other = Learned({"stacker": "greedy"}), Learned({"stacker": "greedy"})
    one.fit(engine.windows, CONTEXT)
    other.fit(again, CONTEXT)
    assert one.stacker.state() == other.stacker.state()
    assert one.taught == other.taught


def test_a_saved_engine_remembers_how_many_taught(tiny: Dataset, tmp_path: Path) -> None:
    engine = engine_of(tiny, windows=2)
    engine.save(tmp_path / "engine")
    again = Engine.load(tmp_path / "engine")
    assert isinstance(again.strategy, Learned)
    assert isinstance(engine.strategy, Learned)
    assert again.strategy.taught == engine.strategy.taught
    assert again.strategy.importance() == engine.strategy.importance()
    users = list(tiny.users.ids)[:5]
    assert again.recommend_many(users, k=4).equals(engine.recommend_many(users, k=4))


# --- cached columns --------------------------------------------------------------------------


def kept(tiny: Dataset, folder: Path | None, **changed: Any) -> tuple[Labelled, int]:
    """The window through the cache in ``folder``, and how often the models were asked."""
    engine = Engine.from_config({**CONFIG, **changed}).fit(tiny)
    (window,), asked = engine.windows, []

    def score() -> Labelled:
        asked.append(1)
        return window

    context = FitContext(engine.config.seed, folder)
    (split,) = cut_windows(StackingConfig(), tiny, context)
    return cached_window(engine.models, split, context, "", score), len(asked)


def test_a_window_is_scored_once(tiny: Dataset, tmp_path: Path) -> None:
    first, asked = kept(tiny, tmp_path)
    assert asked == 1
    again, asked = kept(tiny, tmp_path)
    assert asked == 0
    assert again.provenance == first.provenance
    models = again.pool.models
    columns = [w.pool.complete(w.pool.candidates(), models).scores for w in (first, again)]
    np.testing.assert_array_equal(columns[0], columns[1])
    np.testing.assert_array_equal(again.targets, first.targets)


def test_other_settings_are_another_window(tiny: Dataset, tmp_path: Path) -> None:
    kept(tiny, tmp_path)
    retrievers = {"item_transition": {"n": 20}, "popularity": {}}
    assert kept(tiny, tmp_path, retrievers=retrievers)[1] == 1
    assert kept(tiny, tmp_path, seed=4)[1] == 1
    assert kept(tiny, None)[1] == 1


def test_a_damaged_window_is_scored_again(tiny: Dataset, tmp_path: Path) -> None:
    kept(tiny, tmp_path)
    (file,) = tmp_path.rglob("pool.safetensors")
    file.write_bytes(file.read_bytes()[:-7])
    assert kept(tiny, tmp_path)[1] == 1
    assert kept(tiny, tmp_path)[1] == 0
