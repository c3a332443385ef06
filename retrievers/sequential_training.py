"""Training of the sequential network with Hugging Face's Trainer: stopped early, resumable."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import Trainer, TrainingArguments

from finetuning.randomness import isolated_rng
from finetuning.running import checkpoints, run
from finetuning.stopping import Watch
from fusion.data.dataset import Dataset
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.ragged import spans
from retrievers.encoder import uses_bf16
from retrievers.sequential_batches import Windows
from retrievers.sequential_config import SequentialConfig
from retrievers.sequential_model import Network
from retrievers.sequential_steps import Lesson, Steps

__all__ = ["Held", "hold_out", "train"]

log = logging.getLogger(__name__)


#: a user gives at most so many events to the inner validation set, and this share of them
_HELD_EVENTS, _HELD_SHARE = 5, 0.2


@dataclass(frozen=True, slots=True)
class Held:
    """The inner validation set: some users' newest events, and everybody's others.

    Attributes:
        train: the data set without the held-out events.
        queries: what is known before each of them.
        targets: (V,) int32 item_index of the held-out events.
    """

    train: Dataset
    queries: Queries
    targets: npt.NDArray[np.int32]


def hold_out(data: Dataset, count: int, rng: np.random.Generator) -> Held | None:
    """Hold out the newest event of ``count`` users drawn at random; ``None`` where nobody can be.

    Where there are fewer users, each gives more: up to five events, and at most a fifth of them,
    since a few hundred events do not tell a better model from a worse one. A user keeps at least
    two; what was held out of an item that is left without any event is not asked for.
    """
    lengths = np.diff(data.offsets)
    able = np.flatnonzero(lengths >= 3)
    chosen = np.sort(rng.permutation(able)[:count])
    if len(chosen) == 0:
        return None
    each = min(_HELD_EVENTS, -(-count // len(chosen)))
    given = np.clip((lengths[chosen] * _HELD_SHARE).astype(np.int64), 1, each)
    rows = spans(data.offsets[chosen + 1] - given, given)
    keep = np.ones(len(data), bool)
    keep[rows] = False
    train = data.where(keep)
    rows = rows[train.popularity[data.interactions.items[rows]] > 0]
    if len(rows) == 0:
        return None
    users = data.interactions.users[rows].astype(np.int64)
    return Held(train, data.queries_before(users, rows), data.interactions.items[rows])


def train(
    network: Network,
    data: Dataset,
    config: SequentialConfig,
    *,
    evaluate: Callable[[], float] | None,
    steps: int | None,
    seed: int,
    context: FitContext,
    name: str,
) -> int:
    """Train ``network`` in place and leave it, on the CPU and at rest, with its best weights.

    Args:
        network: where training starts.
        data: the events.
        config: the recipe.
        evaluate: NDCG of ``network`` on the inner validation set; ``None`` = train to the end.
        steps: how many; ``None`` = what the recipe says of `fit`.
        seed: of every draw.
        context: folder for checkpoints, and whether to show a bar.
        name: whose bar it is.

    Returns:
        After how many steps the weights that stand were there.
    """
    events, recipe = data.interactions, config.train
    windows = Windows(
        events.items.astype(np.int64),
        events.times,
        data.offsets,
        config.length,
        recipe.batch_events,
        recipe.shuffle_ties,
        seed,
    )
    if steps is None:
        steps = min(recipe.max_steps, recipe.epochs * windows.batches())
    if steps == 0 or windows.batches() == 0:
        return 0
    weights = np.where(data.popularity > 0, data.popularity.astype(float), 0.0)
    weights[weights > 0] **= recipe.negatives_power
    lesson = Lesson(network, weights, recipe)
    every = -(-steps // recipe.looks)
    told = [config.model_dump(mode="json"), data.fingerprint, steps, seed]
    place = f"sequential-{sha256(json.dumps(told).encode()).hexdigest()[:16]}"
    watch = Watch(
        evaluate,
        steps=steps,
        every=every,
        patience=recipe.patience,
        max_seconds=recipe.max_seconds,
        bar=name if context.progress else "",
    )
    with isolated_rng(seed), checkpoints(context.workdir, place) as folder:
        trainer = Trainer(
            model=lesson,
            args=TrainingArguments(
                output_dir=str(folder),
                max_steps=steps,
                per_device_train_batch_size=1,  # of ready batches
                train_sampling_strategy="sequential",
                learning_rate=recipe.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=round(recipe.warmup * steps),
                weight_decay=recipe.weight_decay,
                adam_beta2=0.98,
                max_grad_norm=recipe.clip,
                bf16=uses_bf16(config.precision, "cuda" if torch.cuda.is_available() else "cpu"),
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no" if context.workdir is None else "steps",
                save_steps=every,
                save_total_limit=1,
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
                seed=seed,
            ),
            train_dataset=Steps(windows, weights, recipe, steps, seed),
            data_collator=_only,
        )
        run(trainer, watch)
        network.to("cpu").eval()
    log.info("%s: %d of %d steps kept, looks %s", name, watch.best_step, steps, watch.curve)
    return watch.best_step


def _only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The batch that a row already is."""
    return rows[0]
