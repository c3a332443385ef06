from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetuning_models import classifier, gpt2, ids
from finetuning_trainers import examples, trainer, weights
from torch import nn
from transformers import Trainer

from finetuning.adversarial import AdversarialMixin
from finetuning.settings import Adversarial, Optimization
from finetuning.tuning import Tune, apply
from fusion.errors import ConfigError


class Seen(AdversarialMixin, Trainer):
    """Keeps the embeddings that each pass was made with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[torch.Tensor] = []

    def compute_loss(self, model: Any, inputs: Any, **kwargs: Any) -> Any:
        self.seen.append(model.get_input_embeddings().weight.detach().clone())
        inputs.pop("unheard", None)  # a loss may take what it likes
        return super().compute_loss(model, inputs, **kwargs)


def plain_model() -> Any:
    model = classifier(labels=2)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def batch(count: int = 8) -> dict[str, torch.Tensor]:
    rows = examples(count)
    return {
        "input_ids": torch.stack([row["input_ids"] for row in rows]),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def gradients(model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**inputs).loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def stepped(tmp_path: Path, adversarial: Adversarial, model: Any, **more: Any) -> Any:
    made = trainer(tmp_path, Seen, model, **more)
    made.adversarial = adversarial
    made.current_gradient_accumulation_steps = made.args.gradient_accumulation_steps
    made.optimizer = None
    return made


NAME = "bert.embeddings.word_embeddings.weight"


def test_fgm_adds_the_gradient_at_the_moved_place(tmp_path: Path) -> None:
    model = plain_model()
    table = model.get_input_embeddings().weight
    before, inputs = table.detach().clone(), batch()
    first = gradients(model, inputs)
    moved = before + 0.5 * first[NAME] / first[NAME].norm()
    with torch.no_grad():
        table.copy_(moved)
    second = gradients(model, inputs)
    with torch.no_grad():
        table.copy_(before)

    made = stepped(tmp_path, Adversarial(kind="fgm", epsilon=0.5), model)
    loss = made.training_step(model, inputs)
    torch.testing.assert_close(loss, model(**inputs).loss.detach())
    torch.testing.assert_close(made.seen[1], moved)
    assert torch.equal(table.detach(), before)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, first[name] + second[name])


def test_pgd_goes_in_steps_and_stays_in_the_ball(tmp_path: Path) -> None:
    model, inputs = plain_model(), batch()
    before = model.get_input_embeddings().weight.detach().clone()
    first = gradients(model, inputs)
    made = stepped(tmp_path, Adversarial(kind="pgd", epsilon=0.7, step_size=0.3, steps=4), model)
    made.training_step(model, inputs)
    away = [float((place - before).norm()) for place in made.seen]
    assert away[0] == 0.0
    assert away[1] == pytest.approx(0.3, rel=1e-4)
    assert away[1] < away[2] <= 0.7 + 1e-5
    assert max(away) <= 0.7 + 1e-5
    assert len(made.seen) == 1 + 4
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(made.seen[-1])
    got = {name: p.grad.clone() for name, p in model.named_parameters()}
    last = gradients(model, inputs)
    for name, found in got.items():  # of the places between, only the direction was used
        torch.testing.assert_close(found, first[name] + last[name])


def test_the_move_hurts(tmp_path: Path) -> None:
    model, inputs = plain_model(), batch()
    made = stepped(tmp_path, Adversarial(kind="fgm", epsilon=0.3), model)
    loss = made.training_step(model, inputs)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(made.seen[1])
        assert model(**inputs).loss > loss


def test_batches_accumulate(tmp_path: Path) -> None:
    model, inputs = plain_model(), batch()
    settings = Adversarial(kind="pgd")
    made = stepped(tmp_path, settings, model, settings=Optimization(accumulate=2))
    made.training_step(model, inputs)
    once = {name: p.grad.clone() for name, p in model.named_parameters()}
    made.training_step(model, inputs)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, 2 * once[name])


@pytest.mark.parametrize("kind", ["fgm", "pgd"])
def test_frozen_embeddings_are_moved_but_not_trained(tmp_path: Path, kind: Any) -> None:
    model = plain_model()
    table = model.get_input_embeddings().weight.requires_grad_(False)
    made = stepped(tmp_path, Adversarial(kind=kind), model)
    before = table.clone()
    made.training_step(model, batch())
    assert not torch.equal(made.seen[-1], before)
    assert torch.equal(table, before)
    assert table.grad is None
    assert not table.requires_grad


def test_none_is_the_trainer_as_it_is(tmp_path: Path) -> None:
    found = []
    for kind in (Trainer, Seen):
        made = trainer(tmp_path, kind, steps=3)
        made.train()
        found.append(weights(made.model))
    assert len(made.seen) == 3
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("kind", ["fgm", "pgd"])
def test_it_trains_in_a_whole_run(tmp_path: Path, kind: Any) -> None:
    made = trainer(tmp_path, Seen, steps=5)
    made.adversarial = Adversarial(kind=kind, steps=2)
    before = weights(made.model)
    made.train()
    assert len(made.seen) == 5 * (2 if kind == "fgm" else 3)
    after = weights(made.model)
    assert any(not torch.equal(before[name], after[name]) for name in after)


def test_adapters_are_trained_against_it(tmp_path: Path) -> None:
    model = apply(gpt2(), Tune(kind="lora", rank=2))
    made = stepped(tmp_path, Adversarial(kind="fgm"), model)
    made.training_step(model, {"input_ids": ids(), "labels": ids()})
    asked = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora" in name and grad is not None for name, grad in asked.items())


def test_a_model_without_word_embeddings(tmp_path: Path) -> None:
    model = plain_model()
    made = stepped(tmp_path, Adversarial(kind="fgm"), model)
    with pytest.raises(ConfigError, match="word embeddings"):
        made.training_step(nn.Linear(2, 2), {})


def test_an_error_in_the_middle_leaves_the_embeddings_as_they_were(tmp_path: Path) -> None:
    model, inputs = plain_model(), batch()
    before = model.get_input_embeddings().weight.detach().clone()
    made = stepped(tmp_path, Adversarial(kind="fgm"), model)
    usual, calls = made.compute_loss, []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return usual(*args, **kwargs)

    made.compute_loss = failing
    with pytest.raises(RuntimeError, match="out of memory"):
        made.training_step(model, inputs)
    assert torch.equal(model.get_input_embeddings().weight.detach(), before)
