"""Fine-tuning of a BERT network with the Hugging Face Trainer, whatever its examples and loss."""

from __future__ import annotations

import logging
import math
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
    get_linear_schedule_with_warmup,
    set_seed,
)

from fusion.protocols import FitContext
from rankers.bert_batches import Collator, Numbers, either
from rankers.bert_config import Config
from rankers.bert_model import Net
from rankers.bert_watch import Watch, last_checkpoint
from rankers.device import quiet, working_dtype

__all__ = ["fine_tune"]

log = logging.getLogger(__name__)


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
    with ExitStack() as stack:
        stack.enter_context(_own_randomness(seed))
        stack.enter_context(quiet(not context.progress))
        _unfreeze(net, config)
        keep = context.workdir is not None
        if context.workdir is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            folder = context.workdir / name
        watch = Watch(config.patience, lower=lower, steps=steps, show=context.progress)
        checkpoint = last_checkpoint(folder) if keep else None
        if checkpoint is not None:
            log.info("bert: going on from %s", checkpoint)
            watch.read(checkpoint)
        optimizer = torch.optim.AdamW(_parameter_groups(net, config))
        warmup = math.ceil(config.warmup * steps)
        trainer = Trainer(
            model=model,
            args=_arguments(
                config,
                folder,
                steps,
                seed,
                keep=keep,
                validate=held > 0,
                start=checkpoint is None,
            ),
            train_dataset=Numbers(count),
            eval_dataset=Numbers(held, offset=count),
            data_collator=either(collate, collate_held, count),
            compute_metrics=metrics,
            optimizers=(optimizer, get_linear_schedule_with_warmup(optimizer, warmup, steps)),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        net.to("cpu")
        watch.restore(model)
        _freeze(net, config)
        if keep:
            shutil.rmtree(folder, ignore_errors=True)
    return {"steps": float(trainer.state.global_step), **watch.report()}


def _arguments(
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


def _unfreeze(net: Net, config: Config) -> None:
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


def _freeze(net: Net, config: Config) -> None:
    """A plain encoder again, at rest."""
    if config.tune == "lora":
        net.encoder = net.encoder.merge_and_unload()
    net.requires_grad_(False)
    net.eval()


def _parameter_groups(net: Net, config: Config) -> list[dict[str, Any]]:
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
def _own_randomness(seed: int) -> Iterator[None]:
    """Seed the global generators that Trainer and dropout use, and give them back untouched."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
