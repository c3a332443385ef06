"""Fine-tuning of a BERT network with the Hugging Face Trainer, whatever its examples and loss."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
    get_scheduler,
)

from finetuning.adversarial import AdversarialMixin
from finetuning.arguments import trainer_arguments
from finetuning.randomness import isolated_rng
from finetuning.running import checkpoints, run
from finetuning.settings import Optimization
from finetuning.stopping import Watch
from fusion.protocols import FitContext
from rankers.bert_batches import Collator, Numbers, either
from rankers.bert_config import Config
from rankers.bert_model import Net
from rankers.bert_tuning import at_rest, make_trainable, parameter_groups
from rankers.device import quiet, working_dtype

__all__ = ["fine_tune", "validate"]

_CLIP = 1.0  # largest norm of a gradient


class _Trainer(AdversarialMixin, Trainer):  # type: ignore[misc]
    """The Trainer, moving word embeddings where it is asked to."""


def fine_tune(
    model: torch.nn.Module,
    net: Net,
    config: Config,
    context: FitContext,
    *,
    steps: int,
    seed: int,
    name: str,
    training: tuple[Collator, int],
    validation: tuple[Collator, int],
    metrics: Callable[[Any], dict[str, float]],
    lower: bool,
) -> dict[str, float]:
    """Train ``net`` in place and leave it, on the CPU, with its best weights.

    The best are those of the best validation, the state before training included.

    Args:
        model: what gives the loss of a batch: ``net`` itself, or what holds it.
        net: the network whose parameters are trained.
        config: the recipe.
        context: folder for checkpoints that are gone on from, and whether to show a bar.
        steps: optimizer steps at most.
        seed: of the Trainer and of dropout.
        name: of the run's folder for checkpoints: says everything that the run depends on.
        training: what makes a batch of example numbers, and how many examples there are.
        validation: the same of what validates; 0 examples = no early stopping.
        metrics: ``score`` of the validation's predictions.
        lower: whether a lower score is better.

    Returns:
        ``steps`` taken and, where there was a validation, ``validation`` (best) and ``untrained``.
    """
    (collate, count), (collate_held, held) = training, validation
    keep = context.workdir is not None
    sign = -1.0 if lower else 1.0  # a watch takes higher for better

    def value() -> float:
        return sign * float(trainer.evaluate()["eval_score"])

    with (
        isolated_rng(seed),
        quiet(not context.progress),
        checkpoints(context.workdir, name) as folder,
    ):
        make_trainable(net, config, seed)
        optimizer = torch.optim.AdamW(parameter_groups(net, config))
        warmup = math.ceil(config.warmup * steps)
        scheduler = get_scheduler(config.optimization.schedule, optimizer, warmup, steps)
        trainer = _Trainer(
            model=model,
            args=_arguments(config, folder, steps, seed, keep=keep),
            train_dataset=Numbers(count),
            eval_dataset=Numbers(held, offset=count),
            data_collator=either(collate, collate_held, count),
            compute_metrics=metrics,
            optimizers=(optimizer, scheduler),
        )
        trainer.adversarial = config.adversarial
        watch = Watch(
            value if held else None,
            steps=steps,
            every=min(config.evaluate_every, steps),
            patience=config.patience,
            bar="bert" if context.progress else "",
        )
        report = run(trainer, watch)
        net.to("cpu")
        at_rest(net, config)
    return {name: x if name == "steps" else sign * x for name, x in report.items()}


def validate(
    net: torch.nn.Module,
    config: Config,
    validation: tuple[Collator, int],
    metrics: Callable[[Any], dict[str, float]],
) -> float:
    """``score`` of ``net`` as it is, on the CPU or the GPU, on ``validation``; see `fine_tune`."""
    collate, held = validation
    plain = config.model_copy(update={"optimization": Optimization()})  # nothing to track
    with tempfile.TemporaryDirectory() as folder, isolated_rng(0), quiet():
        trainer = Trainer(
            model=net,
            args=_arguments(plain, Path(folder), 1, 0, keep=False),
            eval_dataset=Numbers(held),
            data_collator=collate,
            compute_metrics=metrics,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        value = float(trainer.evaluate()["eval_score"])
        net.to("cpu")
    return value


def _arguments(config: Config, folder: Path, steps: int, seed: int, *, keep: bool) -> Any:
    """Hugging Face's arguments for ``steps`` optimizer steps.

    Args:
        config: the recipe.
        folder: of the checkpoints.
        steps: at most.
        seed: of the Trainer.
        keep: whether checkpoints are written.
    """
    # a validation example has several times the candidates of a training example
    smaller = math.ceil((1 + config.validation_candidates) / (1 + config.negatives))
    usual = trainer_arguments(
        config.optimization,
        folder=folder,
        steps=steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip=_CLIP,
        bf16=working_dtype(config.dtype) == torch.bfloat16,
        seed=seed,
        save_every=min(config.evaluate_every, steps) if keep else None,
    )
    own = {
        "per_device_eval_batch_size": max(1, config.batch_size // smaller),
        "remove_unused_columns": False,
        "label_names": ["labels"],
        # the examples come in batches of like length
        "train_sampling_strategy": "sequential",
    }
    return TrainingArguments(**{**usual, **own})
