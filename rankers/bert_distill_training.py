"""Training of a student on a teacher's lists, with the Hugging Face Trainer."""

from __future__ import annotations

import json
import logging
import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fusion.distillation.agreement import top_tau
from fusion.protocols import FitContext
from rankers.bert_distill_lists import collator, draw_lists, in_batches, listwise_kl, usable
from rankers.bert_model import Net
from rankers.bert_recipe import fine_tune
from rankers.bert_text import Texts

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
    digest = sha256(json.dumps([config.model_dump(), context.seed]).encode())
    for part in (training.moments, training.items, training.scores):
        digest.update(part.tobytes())
    return fine_tune(
        _Taught(net, config.temperature),
        net,
        config,
        context,
        steps=steps,
        seed=seed,
        name=f"bert-distill-{digest.hexdigest()[:16]}",
        training=(collator(training, lessons, texts), len(training)),
        validation=(collator(validation, lessons, texts), len(validation)),
        metrics=_agreement,
        lower=False,
    )


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
