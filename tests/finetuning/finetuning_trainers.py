"""A real Trainer on a tiny classifier and a task that it can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from finetuning_models import classifier
from transformers import Trainer, TrainingArguments

from finetuning.arguments import trainer_arguments
from finetuning.settings import Optimization


def examples(count: int = 32) -> list[dict[str, Any]]:
    """The first of four tokens tells the class."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(4, 60, (count, 4), generator=generator)
    return [{"input_ids": row, "labels": int(row[0] > 30)} for row in ids]


def trainer(
    folder: Path,
    kind: Any = Trainer,
    model: Any = None,
    *,
    steps: int = 6,
    settings: Optimization | None = None,
    **more: Any,
) -> Any:
    given = {
        "folder": folder,
        "steps": steps,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "warmup": 0.0,
        "weight_decay": 0.0,
        "clip": 1.0,
        "bf16": False,
        "seed": 1,
    }
    arguments = trainer_arguments(settings or Optimization(), **(given | more))
    return kind(
        model=classifier(labels=2) if model is None else model,
        args=TrainingArguments(**arguments),
        train_dataset=examples(),
    )


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}
