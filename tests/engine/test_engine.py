from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tiny_data import tiny_frames

from fusion import Dataset, Engine
from fusion.errors import (
    ConfigError,
    DataError,
    NotFittedError,
    UnknownItemError,
    UnknownUserError,
)

CLASSIC: dict[str, Any] = {
    "seed": 3,
    "retrievers": {"ease": {"reg": 20}, "item_transition": {}, "item_knn": {}, "popularity": {}},
    "stacking": {"events": 2},
}
SERIAL = {
    "mode": "serial",
    "stages": [
        {"models": ["ease", "popularity"], "method": "rrf", "keep": 8},
        {"models": ["item_transition"], "method": "rrf", "keep": 4},
    ],
}
FUSIONS: dict[str, dict[str, Any]] = {
    "rrf": {"mode": "parallel", "method": "rrf"},
    "sum": {"mode": "parallel", "method": {"name": "weighted_sum", "normalization": "z_score"}},
    "mnz": {"mode": "parallel", "method": "comb_mnz"},
    "serial": SERIAL,
    "learned": {"mode": "learned", "stacker": "linear"},
    "single": {"mode": "single", "model": "ease"},
}


@pytest.fixture(scope="module")
def engine(tiny: Dataset) -> Engine:
    return Engine.from_config({**CLASSIC, "fallback": "popularity"}).fit(tiny)


@pytest.fixture(params=FUSIONS)
def fused(request: pytest.FixtureRequest, engine: Engine) -> Engine:
    engine.swap({"fusion": FUSIONS[request.param]}, check=False)
    return engine


def test_a_list_is_ranked_unseen_and_explained(fused: Engine, tiny: Dataset) -> None:
    seen = {tiny.catalog.ids[i] for i in tiny.histories[tiny.users.index("u1")]}
    recs = fused.recommend("u1", k=6)
    assert [r.rank for r in recs] == [1, 2, 3, 4, 5, 6]
    assert not seen & {r.item_id for r in recs}
    assert [r.score for r in recs] == sorted((r.score for r in recs), reverse=True)
    for r in recs:
        assert sum(r.contributions.values()) == pytest.approx(r.score, rel=1e-6, abs=1e-9)
        assert r.title.startswith("The ")


def test_many_equals_one_by_one_and_keeps_the_order(fused: Engine) -> None:
    users = ["u5", "u1", "u5", "u30"]
    table = fused.recommend_many(users, k=4, batch=3)
    assert table.column_names == ["user_id", "item_id", "score", "rank"]
    assert table["user_id"].to_pylist() == [u for u in users for _ in range(4)]
    assert table["rank"].to_pylist() == [1, 2, 3, 4] * 4
    single = [r for u in users for r in fused.recommend(u, k=4)]
    assert table["item_id"].to_pylist() == [r.item_id for r in single]
    np.testing.assert_allclose(table["score"].to_numpy(), [r.score for r in single], rtol=1e-6)


def test_a_saved_engine_recommends_the_same(fused: Engine, tmp_path: Path) -> None:
    fused.save(tmp_path / "engine")
    again = Engine.load(tmp_path / "engine")
    users = list(fused.data.users.ids)
    assert again.recommend_many(users, k=7).equals(fused.recommend_many(users, k=7))
    assert again.config == fused.config
    kinds = {path.suffix for path in (tmp_path / "engine").rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors", ".parquet", ".txt", ".sha256"}
    again.swap({"fusion": FUSIONS["learned"]})  # the window came along
    assert len(again.recommend("u1")) == 10


def test_the_users_genre_wins_for_a_raw_history(engine: Engine) -> None:
    # users walk along one genre's five items in order: after 10, 11, 12 comes 13
    engine.swap({"fusion": {"mode": "single", "model": "item_transition"}})
    recs = engine.recommend(history=["i10", "i11", "i12"], k=2)
    assert [r.item_id for r in recs] == ["i13", "i14"]


def test_seen_items_come_back_when_asked_for(engine: Engine, tiny: Dataset) -> None:
    seen = {tiny.catalog.ids[i] for i in tiny.histories[tiny.users.index("u1")]}
    ids = {r.item_id for r in engine.recommend("u1", k=30, exclude_seen=False)}
    assert seen <= ids
    table = engine.recommend_many(["u1"], k=30, exclude_seen=False)
    assert set(table["item_id"].to_pylist()) == ids


def test_k_beyond_the_catalogue_gives_every_unseen_item_once(engine: Engine, tiny: Dataset) -> None:
    engine.swap({"fusion": FUSIONS["rrf"]})
    ids = [r.item_id for r in engine.recommend("u1", k=10_000)]
    assert len(ids) == len(set(ids)) == 30 - 12


def test_unknown_users_get_the_fallback_or_an_error(engine: Engine, tiny: Dataset) -> None:
    recs = engine.recommend("stranger", k=3)
    assert [list(r.contributions) for r in recs] == [["popularity"]] * 3
    mixed = engine.recommend_many(["u1", "stranger", "u2"], k=3)
    assert mixed["user_id"].to_pylist() == ["u1"] * 3 + ["stranger"] * 3 + ["u2"] * 3
    assert mixed["item_id"].to_pylist()[3:6] == [r.item_id for r in recs]
    assert [r.item_id for r in engine.recommend(history=[], k=3)] == [r.item_id for r in recs]
    strict = Engine.from_config({**CLASSIC, "stacking": None}).fit(tiny)
    with pytest.raises(UnknownUserError, match="'stranger'"):
        strict.recommend("stranger")
    with pytest.raises(UnknownUserError, match="fallback"):
        strict.recommend(history=[])


def test_unknown_items_are_named(engine: Engine) -> None:
    with pytest.raises(UnknownItemError, match="'i999'"):
        engine.recommend(history=["i1", "i999"])


@pytest.mark.parametrize(
    "call",
    [
        lambda e: e.recommend("u1", k=0),
        lambda e: e.recommend("u1", k=2.5),
        lambda e: e.recommend("u1", k=True),
        lambda e: e.recommend(),
        lambda e: e.recommend("u1", history=["i1"]),
        lambda e: e.recommend(history="i1"),
        lambda e: e.recommend(7),
        lambda e: e.recommend_many(["u1"], k=-1),
    ],
)
def test_bad_requests_are_refused(engine: Engine, call: Any) -> None:
    with pytest.raises(DataError):
        call(engine)


def test_nobody_asked_nothing_answered(engine: Engine) -> None:
    table = engine.recommend_many([], k=3)
    assert table.num_rows == 0
    assert table.schema.field("rank").type == pa.int32()


def test_warming_up_asks_every_model_and_changes_no_list(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [(rec.item_id, rec.score) for rec in engine.recommend("u1", k=5)]
    warmed: list[str] = []
    for name, model in engine.models.items():
        monkeypatch.setattr(model, "warm_up", lambda name=name, progress=False: warmed.append(name))
    engine.warm_up()
    assert warmed == list(engine.models)
    monkeypatch.undo()
    engine.warm_up()
    assert [(rec.item_id, rec.score) for rec in engine.recommend("u1", k=5)] == before
    with pytest.raises(NotFittedError):
        Engine.from_config(CLASSIC).warm_up()


def test_asking_before_fit_is_an_error() -> None:
    with pytest.raises(NotFittedError, match="fit or load"):
        Engine.from_config(CLASSIC).recommend("u1")


def test_swap_refuses_other_models_and_keeps_the_fusion(engine: Engine) -> None:
    engine.swap({"fusion": FUSIONS["serial"]})
    before = engine.strategy
    with pytest.raises(ConfigError, match="fit a new engine"):
        engine.swap({"retrievers": {**CLASSIC["retrievers"], "ease": {"reg": 21}}})
    with pytest.raises(ConfigError):
        engine.swap({"fusion": {"mode": "parallel", "method": "rff"}})
    assert engine.strategy is before


def test_a_learned_fusion_needs_a_window(tiny: Dataset) -> None:
    engine = Engine.from_config({**CLASSIC, "stacking": None}).fit(tiny)
    with pytest.raises(ConfigError, match="stacking"):
        engine.swap({"fusion": FUSIONS["learned"]})


def test_a_user_who_has_seen_everything_gets_an_empty_list() -> None:
    interactions, items = tiny_frames(n_users=6, events=30)
    engine = Engine.from_config(CLASSIC).fit(Dataset.from_frames(interactions, items))
    assert engine.recommend("u1") == []
    assert engine.recommend_many(["u1", "u2"]).num_rows == 0


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    ("users", "items"),
    [
        (["a"], ["x"]),
        (["a", "b"], ["x", "x"]),
        (["a", "a"], ["x", "y"]),
    ],
)
def test_the_smallest_data_works_or_says_why(
    users: list[str], items: list[str], fusion: str
) -> None:
    data = Dataset.from_frames(pa.table({"user_id": users, "item_id": items}))
    engine = Engine.from_config({**CLASSIC, "fusion": FUSIONS[fusion], "fallback": "popularity"})
    try:
        engine.fit(data)
    except DataError:
        return
    for user in data.users.ids:
        ids = {r.item_id for r in engine.recommend(user)}
        assert ids.isdisjoint({data.catalog.ids[i] for i in data.histories[data.users.index(user)]})


def test_the_same_seed_gives_the_same_engine(tiny: Dataset) -> None:
    lists = [
        Engine.from_config({**CLASSIC, "fusion": FUSIONS["learned"]})
        .fit(tiny)
        .recommend_many(list(tiny.users.ids))
        for _ in range(2)
    ]
    assert lists[0].equals(lists[1])


def test_an_interrupted_fit_goes_on_from_what_is_fitted(
    tiny: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = Engine.from_config(CLASSIC).fit(tiny, workdir=tmp_path)
    assert "found fitted" not in caplog.text
    victim = next((tmp_path / "models").glob("ease-*"))
    (victim / "manifest.json").write_text(json.dumps({}))
    second = Engine.from_config(CLASSIC).fit(tiny, workdir=tmp_path)
    assert caplog.text.count("found fitted") == 7  # 4 models fitted twice, one copy was damaged
    users = list(tiny.users.ids)
    assert second.recommend_many(users).equals(first.recommend_many(users))


def test_a_model_that_reads_fields_is_not_found_fitted_on_other_fields(tmp_path: Path) -> None:
    met = pa.table({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "c"]})
    config = {"retrievers": {"relations": {"same": {"series": 1}}}, "stacking": None}

    def first(series: list[str]) -> str:
        items = pa.table({"item_id": ["a", "b", "c", "d"], "title": list("abcd"), "series": series})
        engine = Engine.from_config(config)
        engine.fit(Dataset.from_frames(met, items), workdir=tmp_path)
        return engine.recommend(history=["a"], k=1)[0].item_id

    assert first(["x", "y", "x", "y"]) == "c"
    assert first(["x", "y", "y", "x"]) == "d"
