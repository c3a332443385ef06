"""Training of a student on a teacher's lists, with the Hugging Face Trainer."""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    get_linear_schedule_with_warmup,
)

from fusion.distillation.agreement import top_tau
from fusion.protocols import FitContext
from rankers.bert_batches import Numbers, either
from rankers.bert_distill_lists import collator, draw_lists, in_batches, listwise_kl, usable
from rankers.bert_model import Net
from rankers.bert_recipe import (
    freeze,
    own_randomness,
    parameter_groups,
    training_arguments,
    unfreeze,
)
from rankers.bert_text import Texts
from rankers.bert_watch import Watch, last_checkpoint
from rankers.device import quiet

if TYPE_CHECKING:
    from fusion.distillation.lessons import Lessons
    from rankers.bert_distill import StudentConfig

__all__ = ["teach"]

log = logging.getLogger(__name__)

_TOP = 10  # ranks whose pairs validate


def teach(
    net: Net, texts: Texts, lessons: Lessons, config: StudentConfig, context: FitContext
) -> dict[str, float]:
    """Train ``net`` in place and leave it, on the CPU, with its best weights.

    The best are those with the highest mean Kendall's tau at the top on lists of the held moments,
    the state before training included.

    Args:
        net: the student's network, untrained or not.
        texts: the catalogue in tokens.
        lessons: what the teacher said; its held moments validate.
        config: the recipe.
        context: seed, folder for checkpoints that are gone on from, and whether to show a bar.

    Returns:
        ``steps`` taken and, where there was a validation, ``validation`` (best) and ``untrained``.
    """
    rng = context.rng("bert-distill")
    good = usable(lessons, texts)
    train, held = np.flatnonzero(good & ~lessons.held), np.flatnonzero(good & lessons.held)
    steps = config.max_steps
    if not len(train) or steps == 0:
        if steps:
            log.warning("bert: no moment with a history and candidates to order; not distilled")
        return {"steps": 0.0}
    count = steps * config.batch_size
    passes = math.ceil(count / len(train))
    moments = np.concatenate([rng.permutation(train) for _ in range(passes)])[:count]
    top = min(config.list_top, config.list_size)
    training, validation = (
        draw_lists(lessons, texts, at, size=config.list_size, top=top, rng=rng)
        for at in (moments, held)
    )
    training = in_batches(training, lessons, texts, config.batch_size, rng)
    seed = int(rng.integers(2**31))
    taught = _Taught(net, config.temperature)
    with ExitStack() as stack:
        stack.enter_context(own_randomness(seed))
        stack.enter_context(quiet(not context.progress))
        unfreeze(net, config)
        keep = context.workdir is not None
        if context.workdir is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            digest = sha256(json.dumps([config.model_dump(), context.seed]).encode())
            for part in (training.moments, training.items, training.scores):
                digest.update(part.tobytes())
            folder = context.workdir / f"bert-distill-{digest.hexdigest()[:16]}"
        watch = Watch(config.patience, lower=False, steps=steps, show=context.progress)
        checkpoint = last_checkpoint(folder) if keep else None
        if checkpoint is not None:
            log.info("bert: going on from %s", checkpoint)
            watch.read(checkpoint)
        optimizer = torch.optim.AdamW(parameter_groups(net, config))
        warmup = math.ceil(config.warmup * steps)
        trainer = Trainer(
            model=taught,
            args=training_arguments(
                config,
                folder,
                steps,
                seed,
                keep=keep,
                validate=len(validation) > 0,
                start=checkpoint is None,
            ),
            train_dataset=Numbers(len(training)),
            eval_dataset=Numbers(len(validation), offset=len(training)),
            data_collator=either(
                collator(training, lessons, texts),
                collator(validation, lessons, texts),
                len(training),
            ),
            compute_metrics=_agreement,
            optimizers=(optimizer, get_linear_schedule_with_warmup(optimizer, warmup, steps)),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        net.to("cpu")
        watch.restore(taught)
        freeze(net, config)
        if keep:
            shutil.rmtree(folder, ignore_errors=True)
    return {"steps": float(trainer.state.global_step), **watch.report()}


class _Taught(nn.Module):  # type: ignore[misc]
    """The student's network under the distillation loss."""

    def __init__(self, net: Net, temperature: float) -> None:
        super().__init__()
        self.net = net
        self._temperature = temperature

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        segments: torch.Tensor,
        labels: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """``loss`` and ``logits`` (B, C); ``labels`` (B, C) are the teacher's scores."""
        logits = self.net(tokens, positions, segments, size=labels.shape[1])["logits"]
        with torch.autocast(logits.device.type, enabled=False):
            loss = listwise_kl(logits, labels, self._temperature)
        return {"loss": loss, "logits": logits}


def _agreement(prediction: Any) -> dict[str, float]:
    tau = top_tau(prediction.label_ids, prediction.predictions, _TOP)
    return {"score": float(np.nanmean(tau)) if not np.isnan(tau).all() else float("nan")}
