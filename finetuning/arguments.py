"""What every fine-tuning says to Hugging Face's Trainer, in one place."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetuning.settings import Optimization
from fusion.errors import DependencyError, explain

__all__ = ["trainer_arguments"]

_LOGS = 100  # points of a curve that is reported


def trainer_arguments(
    settings: Optimization,
    *,
    folder: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    warmup: float,
    weight_decay: float,
    clip: float,
    bf16: bool,
    seed: int,
    save_every: int | None = None,
) -> dict[str, Any]:
    """Keyword arguments for `transformers.TrainingArguments` and its kin.

    The Trainer itself neither evaluates nor stops: a `finetuning.stopping.Watch` does. A Trainer
    whose ``compute_loss`` is its own and gives the mean of a batch must set
    ``self.loss_is_scaled_for_ga = False``, else ``accumulate`` batches count that many times.

    Args:
        settings: the block of the YAML.
        folder: of the checkpoints and of the reported curves.
        steps: optimizer steps, each of ``settings.accumulate`` batches.
        batch_size: examples of a batch.
        learning_rate: peak rate.
        warmup: share of the steps that warm up.
        weight_decay: of AdamW.
        clip: largest norm of a gradient.
        bf16: autocast to bfloat16, on the CPU too.
        seed: of the order of examples and of dropout.
        save_every: steps between checkpoints; ``None`` = none are written.

    Raises:
        DependencyError: ``report_to`` names a package that is not installed.
    """
    import torch

    _check_tracker(settings.report_to)
    cpu = not torch.cuda.is_available()
    tracked = settings.report_to != "none"
    again = {} if not settings.checkpoint_activations else _checkpointing()
    return again | {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": settings.accumulate,
        "train_sampling_strategy": "group_by_length" if settings.group_by_length else "random",
        "learning_rate": learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": round(warmup * steps),
        "weight_decay": weight_decay,
        "max_grad_norm": clip,
        "optim": "adamw_torch",
        "bf16": bf16,
        "use_cpu": cpu,
        "dataloader_pin_memory": not cpu,
        "eval_strategy": "no",
        "save_strategy": "no" if save_every is None else "steps",
        "save_steps": save_every or steps,
        "save_total_limit": 2,
        "logging_strategy": "steps" if tracked else "no",
        "logging_steps": max(1, steps // _LOGS),
        "report_to": settings.report_to,
        "disable_tqdm": True,
        "seed": seed,
        "data_seed": seed,
    }


def _checkpointing() -> dict[str, Any]:
    from transformers import TrainingArguments

    # transformers 5 had the older name first, and warns of it now
    new = "activation_checkpointing" in TrainingArguments.__dataclass_fields__
    name = "activation_checkpointing" if new else "gradient_checkpointing"
    # the reentrant kind finds no gradient where the word embeddings are frozen
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def _check_tracker(name: str) -> None:
    if name != "none" and find_spec(name) is None:
        raise DependencyError(
            explain(
                f"report_to: {name}",
                f"the package {name}",
                "none installed",
                "install recfusion[tracking], or say report_to: none",
            )
        )
