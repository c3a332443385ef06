"""The fine-tuning scripts on the tiny data: what they write, and that a second call finds it."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_data import tiny_frames

from fusion import Dataset

pytest.importorskip("faiss")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "finetuning"))

import before_after  # noqa: E402
import learning_curve  # noqa: E402
import measuring  # noqa: E402
import transfer  # noqa: E402


def _fixture_of(path: Path, name: str):
    spec = spec_from_file_location(f"fixtures_{name}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


tiny_encoder = _fixture_of(ROOT / "tests" / "retrievers" / "conftest.py", "tiny_encoder")

CONFIG = """
seed: 3
retrievers:
  item_knn: {{n: 5}}
  dense:
    base_model: {encoder}
    precision: float32
    item_tokens: 16
    train: {{max_pairs: 24, batch_size: 8, looks: 2, validation_users: 5, validation_items: 20}}
rankers:
  bert: {{base_model: {encoder}, max_steps: 2, history_tokens: 16, item_tokens: 8}}
stacking: null
fusion: {{mode: parallel}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_encoder):
    out = tmp_path_factory.mktemp("finetuning")
    for name, table in zip(("interactions", "items"), tiny_frames(), strict=True):
        pq.write_table(table, out / f"{name}.parquet")
    (out / "tiny.yaml").write_text(CONFIG.format(encoder=tiny_encoder), "utf-8")
    return out


def run(script, folder, capsys, *more):
    where = ["--data-set", "beauty", "--data", str(folder), "--out", str(folder / script.NAME)]
    script.main([str(folder / "tiny.yaml"), *where, "--quiet", "--json", *more])
    return json.loads(capsys.readouterr().out)["rows"]


def unchanged(script, folder, capsys, monkeypatch, rows, *more):
    """A second call measures nothing and says the same."""
    with monkeypatch.context() as patch:
        patch.setattr(measuring.Trial, "measured", lambda *a, **o: pytest.fail("measured again"))
        assert run(script, folder, capsys, *more) == rows
    kept = json.loads((folder / script.NAME / f"{script.NAME}.json").read_text("utf-8"))
    assert kept["rows"] == rows


def test_before_and_after(folder, capsys, monkeypatch):
    rows = run(before_after, folder, capsys)
    assert [(row["model"], row["stage"]) for row in rows] == [
        ("dense", "zero-shot"),
        ("dense", "fine-tuned"),
        ("bert", "zero-shot"),
        ("bert", "fine-tuned"),
    ]
    assert len({row["fingerprint"] for row in rows}) == 3  # as it is, and each without training
    assert rows[0]["curve"] == []
    [looks] = rows[1]["curve"]
    assert [step for step, _ in looks] == [0, 2, 3]
    assert "chance" not in rows[0]
    assert 0 < rows[2]["chance"]["HR@10"] <= 1
    for row in rows:
        assert row["queries"] == 40
        assert 0 <= row["NDCG@10"]["mean"] <= row["HR@10"]["mean"] <= row["HR@100"]["mean"] <= 1
    assert str(folder) not in (folder / "before_after" / "before_after.json").read_text("utf-8")
    unchanged(before_after, folder, capsys, monkeypatch, rows)


def test_the_last_event_is_never_looked_at(folder):
    data = Dataset.from_frames(*tiny_frames())
    args = measuring.options("", "x", [str(folder / "tiny.yaml"), "--out", str(folder / "x")])
    config, _ = measuring.configured(measuring.source_of("beauty", folder), args)
    split = measuring.Trial.of(config, data, args, seed=0).split
    for user, target in zip(split.users, split.targets, strict=True):
        history = data.histories[user].tolist()
        assert target.tolist() == [history[-2]]
        assert split.train.histories[user].tolist() == history[:-2]


def test_learning_curve(folder, capsys, monkeypatch):
    more = ["--models", "dense", "--shares", "0", "0.5", "1", "--seeds", "1"]
    rows = run(learning_curve, folder, capsys, *more)
    assert [(row["share"], row["events"], row["seed"]) for row in rows] == [
        (0.0, 0, 1),
        (0.5, 20 * 10, 1),
        (1.0, 40 * 10, 1),
    ]
    unchanged(learning_curve, folder, capsys, monkeypatch, rows, *more)


def test_labels_are_nested():
    data = Dataset.from_frames(*tiny_frames())
    few, more = (learning_curve.labelled(data, share, 7) for share in (0.1, 0.5))
    users = [set(part.interactions.users.tolist()) for part in (few, more)]
    assert users[0] < users[1]
    assert len(users[0]) == 4
    assert len(learning_curve.labelled(data, 1.0, 7)) == len(data)


def test_transfer(folder, capsys, monkeypatch):
    more = ["--models", "dense", "--source", "beauty", "--source-data", str(folder)]
    rows = run(transfer, folder, capsys, *more)
    assert [row["stage"] for row in rows] == ["zero-shot", "A", "B", "A then B"]
    assert [len(row["curve"]) for row in rows] == [0, 0, 1, 1]
    # where B is A, what A taught is what B taught
    assert rows[1]["NDCG@10"]["mean"] == pytest.approx(rows[2]["NDCG@10"]["mean"])
    unchanged(transfer, folder, capsys, monkeypatch, rows, *more)


def test_options_are_merged_block_by_block(folder):
    args = measuring.options("", "x", [str(folder / "tiny.yaml")])
    config, _ = measuring.configured(measuring.source_of("beauty", folder), args)
    changed = measuring.with_options(config, "dense", {"train": {"max_pairs": 0}})
    assert changed.retrievers["dense"]["train"]["max_pairs"] == 0
    assert changed.retrievers["dense"]["train"]["batch_size"] == 8
    assert changed.rankers == config.rankers


@pytest.mark.parametrize("wanted", [["nobody"], ["item_knn"]])
def test_what_cannot_be_measured_is_said(folder, wanted, capsys):
    with pytest.raises(SystemExit) as stop:
        run(before_after, folder, capsys, "--models", *wanted)
    assert stop.value.code == 2
    assert "dense, bert" in capsys.readouterr().err
