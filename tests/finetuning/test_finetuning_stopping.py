from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finetuning.stopping import Watch, last_checkpoint, ndcg
from fusion.errors import ArtifactError


def test_ndcg_by_hand() -> None:
    scores = [[3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [1.0, 2.0, 3.0]]
    assert ndcg(scores) == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(4)) / 3)
    assert ndcg(scores, k=2) == pytest.approx((1 + 1 / math.log2(3)) / 3)


def test_ndcg_of_ties_padding_and_nothing() -> None:
    assert ndcg([[1.0, 1.0]]) == pytest.approx(1 / math.log2(3))  # a tie counts against
    assert ndcg([[1.0, math.nan, 0.0]]) == 1.0
    assert ndcg([[math.nan, math.nan]]) == 0.0
    assert ndcg(np.empty((0, 3))) == 0.0


@settings(deadline=None, max_examples=25)
@given(hnp.arrays(np.float32, (5, 6), elements=st.floats(-9, 9, width=32)), st.integers(1, 6))
def test_ndcg_is_that_of_a_naive_loop(scores: Any, k: int) -> None:
    total = 0.0
    for row in scores:
        rank = 1 + sum(other >= row[0] for other in row[1:])
        total += 1 / math.log2(1 + rank) if rank <= k else 0.0
    assert ndcg(scores, k) == pytest.approx(total / len(scores))


def watched(values: list[float], patience: int = 2, every: int = 1, **more: Any) -> Any:
    """Run a Trainer's calls by hand: the weight is the number of the step."""
    model = torch.nn.Linear(1, 1)
    left = iter(values)
    steps = (len(values) - 1) * every
    watch = Watch(lambda: next(left), steps=steps, every=every, patience=patience, **more)
    control = SimpleNamespace(should_training_stop=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
        watch.on_train_begin(None, SimpleNamespace(global_step=0), control, model=model)
        for step in range(1, steps + 1):
            model.weight.fill_(float(step))
            watch.on_step_end(None, SimpleNamespace(global_step=step), control, model=model)
            if control.should_training_stop:
                break
    watch.restore(model)
    return watch, model.weight.item()


def test_the_best_weights_stand() -> None:
    watch, weight = watched([0.1, 0.3, 0.2, 0.25])
    assert weight == 1.0
    assert watch.best_step == 1
    assert watch.curve == ((0, 0.1), (1, 0.3), (2, 0.2), (3, 0.25))
    assert watch.report() == {"steps": 3.0, "untrained": 0.1, "validation": 0.3}


def test_training_that_only_does_harm_is_undone() -> None:
    watch, weight = watched([0.4, 0.3, 0.2, 0.5])
    assert weight == 0.0  # stopped before the 0.5
    assert watch.report() == {"steps": 2.0, "untrained": 0.4, "validation": 0.4}


def test_what_diverged_is_never_the_best() -> None:
    watch, weight = watched([0.1, math.nan, 0.2])
    assert weight == 2.0
    assert watch.curve[1] == (1, -math.inf)


def test_looks_are_so_many_steps_apart() -> None:
    watch, _ = watched([0.1, 0.2, 0.3], every=5)
    assert [step for step, _ in watch.curve] == [0, 5, 10]


def test_time_is_up() -> None:
    watch, _ = watched([0.1, 0.2, 0.3, 0.4], max_seconds=1e-9)
    assert watch.report()["steps"] == 1.0


def test_without_a_validation_the_last_weights_stand() -> None:
    model = torch.nn.Linear(1, 1)
    watch = Watch(None, steps=3, every=1, patience=1)
    control = SimpleNamespace(should_training_stop=False)
    watch.on_train_begin(None, SimpleNamespace(global_step=0), control, model=model)
    watch.on_step_end(None, SimpleNamespace(global_step=3), control, model=model)
    before = model.weight.item()
    watch.restore(model)
    assert not control.should_training_stop
    assert model.weight.item() == before
    assert watch.report() == {"steps": 3.0}
    assert watch.best_step == 3


def test_looks_are_in_evaluation_mode_without_gradients() -> None:
    model = torch.nn.Dropout(0.5).train()
    seen: list[tuple[bool, bool]] = []

    def look() -> float:
        seen.append((model.training, torch.is_grad_enabled()))
        return 0.0

    Watch(look, steps=1, every=1, patience=1).on_train_begin(
        None, SimpleNamespace(global_step=0), None, model=model
    )
    assert seen == [(False, False)]
    assert model.training


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    watch, _ = watched([0.1, 0.3, 0.2])
    for step in (2, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        watch.on_save(SimpleNamespace(output_dir=tmp_path), SimpleNamespace(global_step=step), None)
    (tmp_path / "checkpoint-30").mkdir()  # killed while it was written
    found = last_checkpoint(tmp_path)
    assert found == tmp_path / "checkpoint-10"
    other = Watch(lambda: 0.0, steps=3, every=1, patience=1)
    other.read(found)
    model = torch.nn.Linear(1, 1)
    other.restore(model)
    assert model.weight.item() == 1.0
    assert other.curve == watch.curve
    assert last_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("best.json", b"[0.25, 0.5]"),  # values alone, without their steps
        ("best.json", b"[[1, 0.25"),
        ("best.safetensors", b"\x08"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes
) -> None:
    watch, _ = watched([0.1, 0.3])
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    watch.on_save(SimpleNamespace(output_dir=tmp_path), SimpleNamespace(global_step=2), None)
    (folder / name).write_bytes(content)
    other = Watch(lambda: 0.0, steps=3, every=1, patience=1)
    with pytest.raises(ArtifactError, match="checkpoint-2"):
        other.read(folder)
    assert other.curve == ()


def test_every_look_is_told() -> None:
    told: list[dict[str, float]] = []
    watch = Watch(lambda: 0.5, steps=1, every=1, patience=1)
    watch.tell = told.append
    watch.on_train_begin(None, SimpleNamespace(global_step=0), None, model=torch.nn.Linear(1, 1))
    assert told == [{"validation": 0.5}]
