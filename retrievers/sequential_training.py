"""Training of the sequential network with Hugging Face's Trainer: stopped early, resumable."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
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
from retrievers.sequential_config import NextItemTraining
from retrievers.sequential_steps import Lesson, Steps

__all__ = ["Held", "full_ndcg", "hold_out", "train"]

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


def full_ndcg(
    scores: Callable[[Queries], npt.NDArray[np.float32]],
    columns: npt.NDArray[np.int32],
    held: Held,
) -> float:
    """NDCG@10 of the held-out events in a full ranking, what was met before left out.

    Args:
        scores: (Q, W) float32 of some queries, a fresh array.
        columns: (I,) int32: the column of each item_index, -1 = it has none.
        held: each target has a column.
    """
    gains = np.zeros(len(held.queries))
    for batch in np.array_split(np.arange(len(gains)), -(-len(gains) // 256)):
        asked = held.queries.take(batch)
        block = scores(asked)
        target = block[np.arange(len(batch)), columns[held.targets[batch]]]
        seen = columns[asked.excluded.values]
        block[asked.excluded.rows[seen >= 0], seen[seen >= 0]] = -np.inf
        rank = 1 + (block > target[:, None]).sum(axis=1)
        gains[batch] = np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0)
    return float(gains.mean())


def train(
    network: nn.Module,
    data: Dataset,
    recipe: NextItemTraining,
    *,
    length: int,
    precision: Literal["auto", "float32", "bfloat16"],
    identity: Any,
    evaluate: Callable[[], float] | None,
    steps: int | None,
    seed: int,
    context: FitContext,
    name: str,
    text_only: float = 0.0,
    columns: npt.NDArray[np.int32] | None = None,
) -> int:
    """Train ``network`` in place and leave it, on the CPU and at rest, with its best weights.

    Args:
        network: where training starts, a `Foretelling`.
        data: the events, each of an item of the network.
        recipe: how.
        length: newest events that the network reads.
        precision: of training.
        identity: JSON of what else decides what is learnt, for the name of the checkpoints.
        evaluate: NDCG of ``network`` on the inner validation set; ``None`` = train to the end.
        steps: how many; ``None`` = what the recipe says of `fit`.
        seed: of every draw.
        context: folder for checkpoints, and whether to show a bar.
        name: whose bar it is.
        text_only: see `SequentialTraining.text_only`.
        columns: (I,) the row of each item_index among the network's items, in rising order, -1 =
            it has none; ``None`` = the network's items are the catalogue.

    Returns:
        After how many steps the weights that stand were there.
    """
    events, popularity = data.interactions, data.popularity.astype(float)
    items = events.items.astype(np.int64)
    if columns is not None:
        items, popularity = columns[items].astype(np.int64), popularity[columns >= 0]
    windows = Windows(
        items,
        events.times,
        data.offsets,
        length,
        recipe.batch_events,
        recipe.shuffle_ties,
        seed,
    )
    if steps is None:
        steps = min(recipe.max_steps, recipe.epochs * windows.batches())
    if steps == 0 or windows.batches() == 0:
        return 0
    weights = popularity
    weights[weights > 0] **= recipe.negatives_power
    lesson = Lesson(network, weights, recipe)
    every = -(-steps // recipe.looks)
    told = [identity, data.fingerprint, steps, seed]
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
                bf16=uses_bf16(precision, "cuda" if torch.cuda.is_available() else "cpu"),
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
            train_dataset=Steps(windows, weights, recipe, steps, seed, text_only),
            data_collator=_only,
        )
        run(trainer, watch)
        network.to("cpu").eval()
    log.info("%s: %d of %d steps kept, looks %s", name, watch.best_step, steps, watch.curve)
    return watch.best_step


def _only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The batch that a row already is."""
    return rows[0]
