"""The profile of an engine: known work and known times give known numbers."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fusion import Dataset, Engine
from fusion.candidates import Candidates, Scores
from fusion.errors import ArtifactError, DataError, ModelError
from fusion.profiling import machine as machines
from fusion.profiling.machine import resident_bytes, this_machine
from fusion.profiling.measure import WARM_UP, profile_engine
from fusion.profiling.plot import save_profile_plot
from fusion.profiling.summary import percentiles, summarise
from fusion.protocols import FitContext, Ranker, RankerConfig
from fusion.queries import Queries
from fusion.request_profile import RequestProfile, Stage
from fusion.work import count, timed

NAP = 0.02
FLOPS = 4e7


class Large(Ranker):
    """Counts known work and takes a known time."""

    Config = RankerConfig
    asked: list[int]

    def fit(self, data: Dataset, context: FitContext) -> None:
        del data, context
        self.asked, self.met = [], set()

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        self.asked += queries.users.tolist()
        user = int(queries.users[0])
        count(**{"cache_hits" if user in self.met else "cache_misses": 1})
        self.met.add(user)
        with timed("forward"):
            count(tokens=1000, flops=FLOPS, bytes=5e6)
            time.sleep(NAP)
        return Scores.of(candidates.items.astype(np.float32))

    def peak_rate(self) -> float | None:
        return 8e9

    def save(self, folder: Path) -> None:
        del folder

    def load(self, folder: Path, data: Dataset) -> None:
        del folder, data


@pytest.fixture
def engine(tiny: Dataset) -> Engine:
    config = {
        "retrievers": {"ease": {}, "popularity": {}},
        "rankers": {"large": {"type": "test_profiling:Large"}},
    }
    engine = Engine.from_config(config).fit(tiny)
    large: Any = engine.models["large"]
    large.asked, large.met = [], set()
    return engine


# --- arithmetic -------------------------------------------------------------------------------


def test_percentiles_are_linear_between_neighbours() -> None:
    # place (n - 1) p from 0: 2 for the median of five; 3.8 and 3.96 for the others
    assert percentiles([50, 10, 20, 40, 30]) == pytest.approx(
        (30, 40 + 0.8 * (50 - 40), 40 + 0.96 * (50 - 40))
    )
    assert percentiles([7]) == (7, 7, 7)


def test_a_summary_by_hand() -> None:
    def request(score_ms: float, tokens: float, whole: float) -> RequestProfile:
        counts = {"tokens": tokens, "flops": tokens * 1e6, "cache_hits": 1, "cache_misses": 1}
        stages = (
            Stage("prepare", "", 1.0),
            Stage("score", "gpt", score_ms, counts, computing_ms=score_ms / 2),
            Stage("forward", "gpt", score_ms / 2, inside="score"),
            Stage("fuse", "", 2.0),
        )
        return RequestProfile(stages, whole)

    fast = RequestProfile((Stage("prepare", "", 3.0), Stage("fuse", "", 2.0)), 5.0)  # without gpt
    requests = [fast, request(10, 300, 15), request(30, 500, 35)]
    prepare, score, forward, fuse = summarise(requests, {"gpt": 80e9})
    assert [s.total.label.strip() for s in (prepare, score, forward, fuse)] == [
        "prepare",
        "score gpt",
        "forward",
        "fuse",
    ]
    assert prepare.ms == pytest.approx((1, 1 + 0.9 * (3 - 1), 1 + 0.98 * (3 - 1)))
    assert prepare.share == pytest.approx((1 + 1 + 3) / (5 + 15 + 35))
    assert score.requests == 2
    assert score.ms[0] == pytest.approx((10 + 30) / 2)
    assert score.share == pytest.approx((10 + 30) / (5 + 15 + 35))
    assert score.total.tokens_per_second == pytest.approx((300 + 500) / (0.010 + 0.030))
    assert score.total.gflops == pytest.approx((300 + 500) * 1e6 / 0.020 / 1e9)  # 40
    assert score.a_request.gflops == score.total.gflops
    assert score.peak == 80
    assert score.of_peak == pytest.approx(40 / 80)
    assert score.a_request.counts["tokens"] == (300 + 500) / 2
    assert score.total.hit_rate == 0.5
    assert (forward.peak, forward.of_peak, fuse.of_peak) == (None, None, None)
    told = score.to_json()
    assert told["tokens"] == 400
    assert told["mean_ms"] == 20
    assert (told["p50_ms"], told["of_peak"]) == (20, 0.5)


def test_nothing_is_nothing() -> None:
    assert summarise([], {}) == ()


# --- an engine --------------------------------------------------------------------------------


def test_known_work_gives_known_numbers(engine: Engine) -> None:
    found = profile_engine(engine, users=4, repeat=2, k=5)
    assert (found.requests, found.users, found.incomplete) == (8, 4, 0)
    large: Any = engine.models["large"]
    assert len(large.asked) == WARM_UP + 8
    measured = large.asked[WARM_UP:]
    assert measured[::2] == measured[1::2]  # each twice in a row
    assert not set(measured) & set(large.asked[:WARM_UP])
    stages = {(s.total.name, s.total.model): s for s in found.stages}
    score, forward = stages["score", "large"], stages["forward", "large"]
    assert score.a_request.counts == {
        "tokens": 1000,
        "flops": FLOPS,
        "bytes": 5e6,
        "cache_misses": 0.5,  # every second time the user is known
        "cache_hits": 0.5,
    }
    assert score.total.hit_rate == 0.5
    assert 1000 * NAP <= forward.ms[0] <= score.ms[0] < 20_000 * NAP
    mean, passes = score.total.ms / 8, forward.total.ms / 8
    assert score.total.gflops == pytest.approx(FLOPS / (passes / 1000) / 1e9)
    assert score.total.gflops is not None
    assert score.total.gflops <= FLOPS / NAP / 1e9  # 2: it took at least the nap
    assert score.of_peak == pytest.approx(score.total.gflops / 8)
    assert score.total.tokens_per_second == pytest.approx(1000 / (mean / 1000))
    outer = [s for s in found.stages if not s.total.inside]
    assert sum(s.share for s in outer) <= 1 + 1e-9
    assert sum(s.total.ms for s in outer) <= 1000 * found.seconds + 1e-6
    assert sum(s.share for s in outer) > 0.9
    assert found.ms[0] <= found.ms[1] <= found.ms[2]


def test_json_is_strict_and_complete(engine: Engine) -> None:
    told = json.loads(json.dumps(profile_engine(engine, users=2).to_json(), allow_nan=False))
    assert told["machine"]["cores"] >= 1
    assert told["resident_bytes"] > 1e6
    assert told["requests_per_second"] > 0
    assert told["strategy_hash"] == engine.config.hash
    by = {(s["stage"], s["model"]): s for s in told["stages"]}
    assert by["score", "large"]["peak_gflops"] == 8
    assert {"p50_ms", "p95_ms", "p99_ms", "share"} <= by["fuse", ""].keys()
    assert "gflops" not in by["fuse", ""]


def test_the_sample_follows_the_seed(engine: Engine) -> None:
    large: Any = engine.models["large"]
    profile_engine(engine, users=3)
    first = large.asked[:]
    profile_engine(engine, users=3)
    assert large.asked[len(first) :] == first


def test_few_users_are_all_of_them(tiny: Dataset) -> None:
    few = tiny.where(tiny.interactions.users < 3)
    engine = Engine.from_config({"retrievers": {"ease": {}}}).fit(few)
    found = profile_engine(engine, users=100)
    assert found.users == 3


def test_a_deadline_that_leaves_models_out_is_told(engine: Engine) -> None:
    engine.calibrate_deadline()
    found = profile_engine(engine, users=3, deadline_ms=NAP * 1000 / 2)
    assert found.incomplete == 3
    assert any("had to leave a model out" in line for line in found.notes())
    assert all(s.total.model != "large" for s in found.stages)


@pytest.mark.parametrize("wrong", [{"users": 0}, {"repeat": 0}, {"k": 0}, {"deadline_ms": -1}])
def test_what_is_refused(engine: Engine, wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        profile_engine(engine, **wrong)


def test_a_model_that_fails_is_an_error(engine: Engine) -> None:
    engine.models["large"].score = lambda *_: 1 / 0  # type: ignore[assignment, return-value]
    with pytest.raises(ModelError):
        profile_engine(engine, users=2)


# --- machine and picture ----------------------------------------------------------------------


def test_memory_that_is_taken_is_seen() -> None:
    before = resident_bytes()
    block = np.ones(40_000_000, np.uint8)
    after = resident_bytes()
    assert before is not None
    assert after is not None
    assert after - before > 30_000_000
    del block


def test_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "Path", lambda path: Path("/nowhere") / path.lstrip("/"))
    peak = resident_bytes()
    assert peak is not None
    assert peak > 1e6
    assert this_machine().cpu


def test_the_machine_asks_torch_only_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert (this_machine().device, this_machine().threads) == ("cpu", None)
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda n: f"GPU {n}")
    torch = SimpleNamespace(cuda=cuda, get_num_threads=lambda: 3)
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert (this_machine().device, this_machine().threads) == ("GPU 0", 3)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_picture(engine: Engine, tmp_path: Path, suffix: str) -> None:
    found = profile_engine(engine, users=2)
    file = save_profile_plot(found, tmp_path / "deep" / f"p{suffix}")
    assert file.stat().st_size > 1000
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with pytest.raises(DataError):
        save_profile_plot(found, tmp_path / "p.pdf")
    with pytest.raises(ArtifactError):
        save_profile_plot(found, file / "inside.png")
