from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetuning_models import classifier
from finetuning_trainers import examples, trainer, weights
from transformers import Trainer, TrainerCallback

from finetuning.adversarial import AdversarialMixin
from finetuning.randomness import isolated_rng
from finetuning.running import checkpoints, curves, run
from finetuning.settings import Adversarial, Optimization
from finetuning.stopping import Watch


def accuracy(model: Any) -> float:
    ids = torch.stack([row["input_ids"] for row in examples()])
    labels = torch.tensor([row["labels"] for row in examples()])
    return float((model(input_ids=ids).logits.argmax(1) == labels).float().mean())


class Killed(RuntimeError):
    pass


class Kill(TrainerCallback):  # type: ignore[misc]
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Killed


class Adversary(AdversarialMixin, Trainer):
    adversarial = Adversarial(kind="fgm", epsilon=0.5)


def trained(workdir: Path, kind: Any, kill: int | None = None) -> Any:
    model = classifier(labels=2)
    with isolated_rng(3), checkpoints(workdir, "test") as folder:
        made = trainer(folder, kind, model, steps=8, save_every=2)
        if kill is not None:
            made.add_callback(Kill(kill))
        watch = Watch(lambda: accuracy(model), steps=8, every=2, patience=9)
        report = run(made, watch)
    return weights(model), report, watch.curve


@pytest.mark.parametrize("kind", [Trainer, Adversary])
def test_a_killed_run_goes_on_to_the_same_end(tmp_path: Path, kind: Any) -> None:
    expected, report, curve = trained(tmp_path / "whole", kind)
    with pytest.raises(Killed):
        trained(tmp_path / "cut", kind, kill=5)
    assert list((tmp_path / "cut" / "test").glob("checkpoint-4/best.json"))
    found, again, curve_again = trained(tmp_path / "cut", kind)
    assert again == report
    assert curve_again == curve
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)
    assert not list((tmp_path / "cut").iterdir()), "checkpoints of a finished run are gone"


def test_the_best_weights_are_in_the_model(tmp_path: Path) -> None:
    model = classifier(labels=2)
    values = iter([0.0, 1.0, 0.5, 0.4])
    before = weights(model)
    made = trainer(tmp_path, model=model, steps=9)
    seen: list[dict[str, torch.Tensor]] = []

    def look() -> float:
        seen.append(weights(model))
        return next(values)

    with curves() as collected:
        report = run(made, Watch(look, steps=9, every=2, patience=2))
    assert collected == [((0, 0.0), (2, 1.0), (4, 0.5), (6, 0.4))]
    assert report == {"steps": 6.0, "untrained": 0.0, "validation": 1.0}
    after = weights(model)
    assert all(torch.equal(after[name], seen[1][name]) for name in after)
    assert any(not torch.equal(after[name], before[name]) for name in after)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(trainer(tmp_path, steps=2), Watch(None, steps=2, every=1, patience=1))
    assert capfd.readouterr().out == ""


def test_curves_outlive_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for workdir in (None, tmp_path / "work"):
        with checkpoints(workdir, "mine") as folder:
            (folder / "runs" / f"day-{workdir is None}").mkdir(parents=True)
    assert sorted(p.name for p in (tmp_path / "runs" / "mine").iterdir()) == [
        "day-False",
        "day-True",
    ]


def test_accumulated_batches_are_one_larger_batch(tmp_path: Path) -> None:
    """Four batches of four examples give the step of one batch of sixteen (without dropout)."""
    found = []
    for size, count in ((16, 1), (4, 4)):
        model = classifier(labels=2)
        model.config.hidden_dropout_prob = 0.0
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        made = trainer(
            tmp_path,
            model=model,
            steps=1,
            batch_size=size,
            settings=Optimization(accumulate=count),
        )
        run(made, Watch(None, steps=1, every=1, patience=1))
        found.append(weights(model))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-3, atol=2e-4)


def test_activations_computed_again_give_the_same_weights(tmp_path: Path) -> None:
    found = []
    for again in (False, True):
        model = classifier(labels=2)
        with isolated_rng(0):
            made = trainer(
                tmp_path, model=model, settings=Optimization(checkpoint_activations=again), steps=3
            )
            run(made, Watch(None, steps=3, every=1, patience=1))
        found.append(weights(model))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor)
