"""What every fine-tuning of a BERT ranker has in common: arguments, what is trained, randomness."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainingArguments, set_seed

from rankers.bert_config import Config
from rankers.bert_model import Net
from rankers.device import working_dtype

__all__ = ["freeze", "own_randomness", "parameter_groups", "training_arguments", "unfreeze"]


def training_arguments(
    config: Config, folder: Path, steps: int, seed: int, *, keep: bool, validate: bool, start: bool
) -> Any:
    """Hugging Face's arguments for ``steps`` optimizer steps.

    Args:
        config: the recipe.
        folder: of the checkpoints.
        steps: at most.
        seed: of the Trainer.
        keep: whether checkpoints are written.
        validate: whether there is anything to validate on.
        start: whether the state before the first step is validated too.
    """
    cpu = not torch.cuda.is_available()
    every = min(config.evaluate_every, steps)
    # a validation example has several times the candidates of a training example
    smaller = math.ceil((1 + config.validation_candidates) / (1 + config.negatives))
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=max(1, config.batch_size // smaller),
        use_cpu=cpu,
        bf16=working_dtype(config.dtype) == torch.bfloat16,
        eval_strategy="steps" if validate else "no",
        eval_steps=every,
        eval_on_start=validate and start,
        save_strategy="steps" if keep else "no",
        save_steps=every,
        save_total_limit=2,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        dataloader_pin_memory=not cpu,
        remove_unused_columns=False,
        label_names=["labels"],
        train_sampling_strategy="sequential",
    )


def unfreeze(net: Net, config: Config) -> None:
    """Choose what is trained."""
    own = net.own_parts()
    net.requires_grad_(config.tune == "full")
    if config.tune == "full":
        for name, parameter in net.encoder.named_parameters():
            if "pooler" in name and config.mode != "cross":  # not used, so without a gradient
                parameter.requires_grad_(False)
        net.encoder.get_input_embeddings().requires_grad_(not config.freeze_embeddings)
    elif config.tune == "lora":
        from peft import LoraConfig, get_peft_model

        adapters = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.dropout,
            target_modules="all-linear",
            exclude_modules=r".*(pooler|classifier).*",
        )
        with warnings.catch_warnings():
            # peft asks transformers by a name that transformers is about to give up
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            net.encoder = get_peft_model(net.encoder, adapters)
    for part in own:
        part.requires_grad_(True)


def freeze(net: Net, config: Config) -> None:
    """A plain encoder again, at rest."""
    if config.tune == "lora":
        net.encoder = net.encoder.merge_and_unload()
    net.requires_grad_(False)
    net.eval()


def parameter_groups(net: Net, config: Config) -> list[dict[str, Any]]:
    """AdamW's groups: the head has a rate of its own, vectors (biases, norms) have no decay."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            is_head = name.startswith("head.") or "classifier." in name
            rate = config.head_learning_rate if is_head else config.learning_rate
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed the global generators that Trainer and dropout use, and give them back untouched."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
