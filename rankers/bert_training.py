"""Fine-tuning of the BERT ranker with the Hugging Face Trainer."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from finetuning.soup import soup
from fusion.data.dataset import Dataset
from fusion.protocols import FitContext
from rankers.bert_batches import Collator, by_length, collator, pair_collator
from rankers.bert_config import Config
from rankers.bert_draws import draw_training, draw_validation
from rankers.bert_examples import Examples, split_events
from rankers.bert_model import Net
from rankers.bert_recipe import fine_tune, validate
from rankers.bert_text import Texts
from rankers.bert_views import variants, view_of

__all__ = ["train"]

log = logging.getLogger(__name__)

_CALIBRATION = 64  # examples that set the first bias of the head

#: trains the n-th time, from the weights that are there
Run = Callable[[int], dict[str, float]]


def train(
    net: Net,
    texts: Texts,
    tokenizer: Any,
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
    held-out event among sampled items, or the squared error on it (rating). With several seeds it
    is trained so often from one start, and the weights are averaged.

    Args:
        net: a new net, or one that was trained.
        texts: the catalogue of ``data`` in tokens.
        tokenizer: what made them.
        data: all there is to learn from and to validate on.
        config: the recipe.
        context: seed, folder for checkpoints, and whether to show a bar.
        steps: optimizer steps at most.
        phase: ``"fit"``, or ``"refit"`` for a net that is trained already.
        scale: mean and standard deviation that ratings are standardised by.

    Returns:
        ``steps`` taken, by all seeds together, and, where there was a validation, ``validation``
        (best, or that of the average) and ``untrained``.
    """
    rating = config.head == "rating"
    rng = context.rng(f"bert-{phase}")
    events = split_events(
        data, texts.known, validation_users=config.validation_users, rated=rating, rng=rng
    )
    if not len(events.train) or steps == 0:
        if steps:
            log.warning("bert: no user with two events whose items have text; not trained")
        return {"steps": 0.0}

    def drawn(rng: np.random.Generator) -> Examples:
        return draw_training(events, data, texts, config, rng, steps, context=context, scale=scale)

    def in_order(examples: Examples, rng: np.random.Generator) -> tuple[Examples, int]:
        ordered = by_length(examples, events, texts, config.batch_size, rng)
        return ordered, int(rng.integers(2**31))  # and the seed of the training

    collators = pair_collator if config.mode == "cross" else collator
    training = drawn(rng)
    validation = draw_validation(events, data, texts, config, rng, scale=scale)
    first = in_order(training, rng)
    held = (collators(validation, events, texts), len(validation))
    if phase == "fit" and net.objective.calibrates:
        count = min(_CALIBRATION, len(training))
        _calibrate(net, collators(first[0], events, texts)(range(count)))
    reworded, wordings = variants(
        texts, tokenizer, data.catalog.texts, config, context.rng(f"bert-{phase}-wordings")
    )
    metrics = _squared_error if rating else _ndcg
    key = json.dumps([config.model_dump(), data.fingerprint, context.seed, phase, steps])
    name = f"bert-{sha256(key.encode()).hexdigest()[:16]}"

    def run(n: int) -> dict[str, float]:
        own = context.rng(f"bert-{phase}-{n}")
        examples, seed = in_order(drawn(own), own) if n else first
        view = view_of(config, reworded, wordings, seed)
        return fine_tune(
            net,
            net,
            config,
            context,
            steps=steps,
            seed=seed,
            name=f"{name}-{n}",
            training=(collators(examples, events, reworded, view), len(examples)),
            validation=held,
            metrics=metrics,
            lower=rating,
        )

    if config.seeds.count == 1:
        return run(0)
    kept = None if context.workdir is None else context.workdir / f"{name}-seeds"
    return _averaged(net, config, run, kept, held, metrics, lower=rating)


def _averaged(
    net: Net,
    config: Config,
    run: Run,
    kept: Path | None,
    held: tuple[Collator, int],
    metrics: Callable[[Any], dict[str, float]],
    *,
    lower: bool,
) -> dict[str, float]:
    """Train ``net`` several times from where it is, and give it the average of the weights.

    Args:
        kept: where the weights of finished runs are kept for a training that is interrupted.
    """
    start = _weights(net)
    reports: list[dict[str, float]] = []

    def trained(n: int) -> dict[str, torch.Tensor]:
        file = None if kept is None else kept / f"{n}.safetensors"
        if file is not None and file.is_file():
            log.info("bert: seed %d found trained in %s", n, file)
            reports.append(json.loads(file.with_suffix(".json").read_text("utf-8")))
            stored: dict[str, torch.Tensor] = load_file(file)
            return stored
        net.load_state_dict(start)
        reports.append(run(n))
        weights = _weights(net)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_suffix(".json").write_text(json.dumps(reports[-1]), "utf-8")
            save_file(weights, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)  # the weights stand for a finished run
        return weights

    def value(state: Any) -> float:
        net.load_state_dict(state)
        found = validate(net, config, held, metrics)
        return -found if lower else found

    mean = soup(trained, config.seeds, value if held[1] else None)
    net.load_state_dict(mean)
    report = {"steps": sum(r["steps"] for r in reports)}
    if held[1]:
        report |= {"untrained": reports[0]["untrained"], "validation": abs(value(mean))}
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    return report


def _weights(net: Net) -> dict[str, torch.Tensor]:
    """A copy of every weight."""
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


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
