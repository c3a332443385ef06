from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments

from finetuning import arguments
from finetuning.arguments import trainer_arguments
from finetuning.settings import Optimization
from fusion.errors import DependencyError


def made(folder: Path, settings: Optimization | None = None, **more: Any) -> TrainingArguments:
    given = {
        "folder": folder,
        "steps": 30,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "warmup": 0.1,
        "weight_decay": 0.02,
        "clip": 0.5,
        "bf16": False,
        "seed": 7,
    }
    return TrainingArguments(**trainer_arguments(settings or Optimization(), **(given | more)))


def test_what_is_said_arrives(tmp_path: Path) -> None:
    found = made(tmp_path, bf16=True, warmup=0.11)
    assert (found.max_steps, found.warmup_steps) == (30, 3)  # 3.3 steps are 3
    # the first step of a warm-up has a rate of 0: one step alone must not be one
    assert made(tmp_path, steps=1).warmup_steps == 0
    assert (found.learning_rate, found.weight_decay, found.max_grad_norm) == (1e-3, 0.02, 0.5)
    assert (found.seed, found.data_seed, found.bf16) == (7, 7, True)
    assert found.per_device_train_batch_size == 4
    assert found.report_to == []
    assert str(found.save_strategy.value) == "no"
    assert made(tmp_path, save_every=5).save_steps == 5


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_warmup"])
def test_every_option_is_one_of_the_trainer(tmp_path: Path, schedule: Any) -> None:
    settings = Optimization(
        schedule=schedule, accumulate=3, checkpoint_activations=True, group_by_length=True
    )
    found = made(tmp_path, settings)
    assert found.lr_scheduler_type == schedule
    assert found.gradient_accumulation_steps == 3
    assert found.gradient_checkpointing  # whatever it was set by
    assert found.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert found.train_sampling_strategy == "group_by_length"


def test_a_tracker_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arguments, "find_spec", lambda _: None)
    with pytest.raises(DependencyError, match=r"report_to: wandb.*recfusion\[tracking\]"):
        made(tmp_path, Optimization(report_to="wandb"))
