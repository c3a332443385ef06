"""Fine-tuning of the BERT ranker with the Hugging Face Trainer."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from fusion.data.dataset import Dataset
from fusion.protocols import FitContext
from rankers.bert_batches import by_length, collator, draw_examples, pair_collator
from rankers.bert_config import Config
from rankers.bert_examples import split_events
from rankers.bert_model import Net
from rankers.bert_recipe import fine_tune
from rankers.bert_text import Texts

__all__ = ["train"]

log = logging.getLogger(__name__)

_CALIBRATION = 64  # examples that set the first bias of the head


def train(
    net: Net,
    texts: Texts,
    data: Dataset,
    config: Config,
    context: FitContext,
    *,
    steps: int,
    phase: str,
    scale: tuple[float, float],
) -> dict[str, float]:
    """Train ``net`` in place and leave it, on the CPU, with its best weights.

    The best are those of the best validation, the state before training included: NDCG@10 of the
    held-out event among sampled items (ctr), or the squared error on it (rating).

    Args:
        net: a new net, or one that was trained.
        texts: the catalogue of ``data`` in tokens.
        data: all there is to learn from and to validate on.
        config: the recipe.
        context: seed, folder for checkpoints, and whether to show a bar.
        steps: optimizer steps at most.
        phase: ``"fit"``, or ``"refit"`` for a net that is trained already.
        scale: mean and standard deviation that ratings are standardised by.

    Returns:
        ``steps`` taken and, where there was a validation, ``validation`` (best) and ``untrained``.
    """
    rating = config.head == "rating"
    rng = context.rng(f"bert-{phase}")
    events = split_events(
        data, texts.known, validation_users=config.validation_users, rated=rating, rng=rng
    )
    events = replace(events, ratings=(events.ratings - np.float32(scale[0])) / np.float32(scale[1]))
    if not len(events.train) or steps == 0:
        if steps:
            log.warning("bert: no user with two events whose items have text; not trained")
        return {"steps": 0.0}
    training, validation = draw_examples(events, data, texts, config, rng, steps)
    training = by_length(training, events, texts, config.batch_size, rng)
    collators = pair_collator if config.mode == "cross" else collator
    collate = collators(training, events, texts)
    seed = int(rng.integers(2**31))
    if phase == "fit":
        _calibrate(net, collate(range(min(_CALIBRATION, len(training)))))
    key = json.dumps([config.model_dump(), data.fingerprint, context.seed, phase, steps])
    return fine_tune(
        net,
        net,
        config,
        context,
        steps=steps,
        seed=seed,
        name=f"bert-{sha256(key.encode()).hexdigest()[:16]}",
        training=(collate, len(training)),
        validation=(collators(validation, events, texts), len(validation)),
        metrics=_squared_error if rating else _ndcg,
        lower=rating,
    )


def _ndcg(prediction: Any) -> dict[str, float]:
    """NDCG@10 of the candidate in place 0; a tie counts against it, and so does NaN."""
    logits = np.where(np.isnan(prediction.label_ids), -np.inf, prediction.predictions)
    rank = 1 + (~(logits[:, 1:] < logits[:, :1])).sum(axis=1)
    return {"score": float(np.where(rank <= 10, 1.0 / np.log2(rank + 1.0), 0.0).mean())}


def _squared_error(prediction: Any) -> dict[str, float]:
    given = ~np.isnan(prediction.label_ids)
    error = prediction.predictions[given] - prediction.label_ids[given]
    return {"score": float((error**2).mean())}


def _calibrate(net: Net, batch: dict[str, torch.Tensor]) -> None:
    net.eval()
    with torch.inference_mode():
        logits = net(**batch)["logits"]
    net.calibrate(logits.numpy(), batch["labels"].numpy())
