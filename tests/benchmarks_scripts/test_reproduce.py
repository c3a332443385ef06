"""One command gives the JSON that is committed, and the second call finds it all done."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ablation import main as ablation_main
from ablation import subsets
from reproduce import main as reproduce_main
from reproduce import sitting, sittings
from tiny_data import tiny_frames

from fusion.evaluation.fingerprint import Fingerprint

RETRIEVERS = {"ease": "{n: 5}", "item_knn": "{n: 5}", "popularity": "{n: 6}"}


def config(*models: str) -> str:
    listed = "".join(f"  {name}: {RETRIEVERS[name]}\n" for name in models)
    return f"""
seed: 3
retrievers:
{listed}
fusion: {FUSION}
stacking: {{window: leave_last_out, events: 2}}
evaluation:
  fusions:
    learned: {FUSION}
"""


FUSION = "{mode: learned, stacker: linear, too_few: error}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole run of the tiny data in it."""
    folder = tmp_path_factory.mktemp("reproduce")
    for name, table in zip(("interactions", "items"), tiny_frames(), strict=True):
        pq.write_table(table, folder / f"{name}.parquet")
    (folder / "tiny.yaml").write_text(config(*RETRIEVERS), "utf-8")
    reproduce_main([str(folder / "tiny.yaml"), *words(folder)])
    return folder


def words(folder: Path) -> list[str]:
    where = ["--data-set", "beauty", "--data", str(folder), "--split", "leave_last_out"]
    return [*where, "--out", str(folder / "out"), "--results", str(folder / "results"), "--quiet"]


def test_the_json_says_all_that_a_number_needs(runs: Path) -> None:
    path = runs / "results" / "tiny-beauty-leave-last-out.json"
    found = json.loads(path.read_text("utf-8"))
    names = [row["name"] for row in found["rows"]]
    assert names == ["ease", "item_knn", "popularity", "learned"]
    for row in found["rows"]:
        for metric in ("NDCG@10", "HR@10"):
            assert row[metric]["low"] <= row[metric]["mean"] <= row[metric]["high"]
    whole = json.loads((runs / "out" / "leave_last_out.json").read_text("utf-8"))
    for row, one in zip(found["rows"], whole["results"], strict=True):
        values = one["per_query"]["NDCG@10"]
        assert row["NDCG@10"]["mean"] == pytest.approx(sum(values) / len(values))
    assert Fingerprint.from_json(found["fingerprint"]).config == found["config_hash"]
    assert found["seed"] == 3
    assert found["machine"]["cores"] >= 1
    assert [set(one) for one in found["sittings"]] == [{"began", "seconds", "found"}]
    assert str(runs) not in path.read_text("utf-8")  # nothing of this machine's folders
    assert "learned" in path.with_suffix(".md").read_text("utf-8")


def test_a_second_call_computes_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = runs / "results" / "tiny-beauty-leave-last-out.json"
    before = json.loads(path.read_text("utf-8"))
    reproduce_main([str(runs / "tiny.yaml"), *words(runs), "--json"])
    assert json.loads(capsys.readouterr().out) == {"leave_last_out": before}
    assert json.loads(path.read_text("utf-8")) == before


def test_a_killed_sitting_stands_without_its_seconds(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"began": "yesterday"}\n', "utf-8")
    with sitting(log), sitting(log) as told:
        told["found"] = True  # had nothing to do
    first, second = sittings(log)
    assert first == {"began": "yesterday"}
    assert second["seconds"] >= 0


def test_subsets_leave_one_out_the_large_ones_together_and_one_alone() -> None:
    found = subsets(["ease", "dense", "bert"], ["ease", "dense"], ["dense", "bert", "gpt"])
    assert found == {
        "without ease": ("dense", "bert"),
        "without dense": ("ease", "bert"),
        "without bert": ("ease", "dense"),
        "without dense, bert": ("ease",),
        "ease alone": ("ease",),
        "dense alone": ("dense",),
        "bert alone": ("bert",),
    }
    assert "without dense" not in subsets(["dense", "bert"], ["dense"], ["dense"])


def test_ablation_of_what_was_kept(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--large", "ease", "item_knn", "--out", str(runs / "out"), "--quiet", "--json"]
    data = ["--data-set", "beauty", "--data", str(runs)]
    ablation_main([str(runs / "out"), *data, *options])
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == [
        "all",
        "without ease",
        "without item_knn",
        "without popularity",
        "without ease, item_knn",
        "ease alone",
        "item_knn alone",
        "popularity alone",
    ]
    reproduced = json.loads(
        (runs / "results" / "tiny-beauty-leave-last-out.json").read_text("utf-8")
    )
    means = {row["name"]: row["NDCG@10"]["mean"] for row in reproduced["rows"]}
    # the fusion of all models, learnt anew on the stored windows, is the one that was measured
    assert rows["all"]["NDCG@10"]["mean"] == pytest.approx(means["learned"])
    assert "difference" not in rows["all"]
    assert rows["without popularity"]["models"] == ["ease", "item_knn"]
    # and without a model it is what an engine fitted without that model would be
    (runs / "two.yaml").write_text(config("ease", "item_knn"), "utf-8")
    two = [str(runs / "two.yaml"), *words(runs), "--out", str(runs / "two"), "--json"]
    reproduce_main(two)
    fitted = json.loads(capsys.readouterr().out)["leave_last_out"]["rows"]
    expected = {row["name"]: row["NDCG@10"]["mean"] for row in fitted}
    left = rows["without popularity"]["NDCG@10"]["mean"]
    assert left == pytest.approx(expected["learned"])
    assert left != rows["all"]["NDCG@10"]["mean"]
    alone, whole = rows["popularity alone"], rows["all"]
    assert rows["without ease, item_knn"]["NDCG@10"] == alone["NDCG@10"]
    gap = alone["NDCG@10"]["mean"] - whole["NDCG@10"]["mean"]
    assert alone["difference"]["mean"] == pytest.approx(gap)
    assert alone["p_holm"] >= alone["difference"]["p"]
    # scored once, by the benchmark: only its scores are there
    assert len(list((runs / "out" / "cache").glob("scores-*"))) == 1
    assert not list((runs / "out" / "cache").glob("ablation-*"))
    # the second call says the same
    ablation_main([str(runs / "out"), *data, *options])
    again = json.loads(capsys.readouterr().out)
    assert again["rows"] == found["rows"]
    assert again["seconds"]["score"] < 5
    ablation_main([str(runs / "out"), *data, *options, "--without", "popularity"])
    some = [row["name"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert some[:3] == ["all", "without popularity", "without ease, item_knn"]
    with pytest.raises(SystemExit, match="2"):
        ablation_main([str(runs / "out"), *data, *options, "--without", "gpt"])
    assert "some of ease, item_knn, popularity, got gpt" in capsys.readouterr().err


def test_ablation_refuses_an_engine_of_other_events(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data-set", "beauty", "--data", str(runs), "--split", "temporal", "--quiet"]
    with pytest.raises(SystemExit, match="2"):
        ablation_main([str(runs / "out"), *data])
    assert "one engine fitted for this split" in capsys.readouterr().err
