"""Contrastive fine-tuning of the sentence encoder on what people went on to."""

from __future__ import annotations

import logging
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.data.dataset import Dataset
from fusion.protocols import ComponentConfig
from fusion.queries import Queries

__all__ = ["Held", "TrainingSettings", "hold_out", "sample_events", "train"]

log = logging.getLogger(__name__)


class TrainingSettings(ComponentConfig):
    """In-batch contrastive learning: AdamW, linear decay after a warm-up, stopped early."""

    max_pairs: int = Field(
        8_000, ge=0, description="pairs trained on by fit; 0 = zero-shot, no training at all"
    )
    refit_share: float = Field(
        0.25, ge=0, le=1, description="refit trains on this share of the pairs that helped fit"
    )
    epochs: int = Field(1, ge=1, description="at most so many passes over the events")
    max_seconds: float | None = Field(
        None, gt=0, description="stop after so long; results then depend on the machine's speed"
    )
    batch_size: int = Field(64, ge=2, description="pairs a step; the others' items are negatives")
    learning_rate: float = Field(5e-5, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    scale: float = Field(20.0, gt=0, description="the cosines are multiplied by this")
    looks: int = Field(4, ge=1, description="how often to look at the inner validation set")
    patience: int = Field(2, ge=1, description="looks without improvement before stopping")
    validation_users: int = Field(
        300, ge=0, description="users whose newest event is held out; 0 = never stop early"
    )
    validation_items: int = Field(
        1_000, ge=10, description="items that it is ranked among, to choose the weights only"
    )


@dataclass(frozen=True, slots=True)
class Held:
    """The inner validation set: each user's newest event, and the rest.

    Attributes:
        train: the data set without the held-out events.
        users: (V,) int64 user_index.
        targets: (V,) int32 item_index.
        pool: (P,) int32 item_index, rising: targets, newest histories, and others drawn at random.
    """

    train: Dataset
    users: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int32]
    pool: npt.NDArray[np.int32]

    @property
    def queries(self) -> Queries:
        """What is known of ``users`` before their held-out event."""
        return self.train.queries(self.users)


def hold_out(
    data: Dataset,
    readable: npt.NDArray[np.bool_],
    users: int,
    items: int,
    rng: np.random.Generator,
) -> Held | None:
    """Hold out the newest event of ``users`` users drawn at random; ``None`` where nobody can be.

    Args:
        data: all that may be learnt from.
        readable: (I,) bool: items that have text.
        users: how many users at most.
        items: size of the pool, unless the histories and targets are more.
        rng: draws users and items.
    """
    last = data.offsets[1:] - 1
    able = np.flatnonzero(np.diff(data.offsets) >= 3)
    able = able[readable[data.interactions.items[last[able]]]]
    if users == 0 or len(able) == 0:
        return None
    chosen = np.sort(rng.choice(able, min(users, len(able)), replace=False))
    keep = np.ones(len(data), bool)
    keep[last[chosen]] = False
    train = data.where(keep)
    targets = data.interactions.items[last[chosen]]
    newest = train.queries(chosen).newest(_HELD_HISTORY).history.values
    wanted = np.unique(np.concatenate([targets, newest]))
    wanted = wanted[readable[wanted]]
    others = np.setdiff1d(np.flatnonzero(readable), wanted)
    extra = rng.choice(others, min(max(items - len(wanted), 0), len(others)), replace=False)
    pool = np.sort(np.concatenate([wanted, extra])).astype(np.int32)
    return Held(train, chosen, targets, pool)


_HELD_HISTORY = 5


def sample_events(
    data: Dataset,
    readable: npt.NDArray[np.bool_],
    count: int,
    epochs: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """(up to ``count``,) int64 rows of ``data.interactions`` to learn to foresee, in random order.

    An event qualifies if its item and the item of the user's event before it have text. No event
    is drawn more than ``epochs`` times.
    """
    events = data.interactions
    text = readable[events.items]
    follows = np.zeros(len(data), bool)
    follows[1:] = (events.users[1:] == events.users[:-1]) & text[:-1]
    able = np.flatnonzero(follows & text)
    passes = [rng.permutation(able) for _ in range(epochs)]
    return np.concatenate([np.empty(0, np.int64), *passes])[:count].astype(np.int64)


def train(
    model: Any,
    pairs: tuple[Sequence[str], Sequence[str]],
    settings: TrainingSettings,
    *,
    evaluate: Callable[[], float] | None,
    bf16: bool,
    seed: int,
    progress: bool,
) -> int:
    """Fine-tune ``model`` in place and leave its best weights in it.

    The loss is `MultipleNegativesRankingLoss` (InfoNCE with the other items of the batch as
    negatives; van den Oord et al., 2018, arXiv:1807.03748), batches hold no text twice.

    Args:
        model: a `SentenceTransformer`.
        pairs: texts of what was known, texts of what came next; not empty.
        settings: the recipe.
        evaluate: NDCG on the inner validation set; ``None`` = train to the end.
        bf16: autocast to bfloat16.
        seed: of the order of batches and of dropout.
        progress: whether to show the Trainer's bar.

    Returns:
        How many pairs the weights that stand have seen: 0 where training only did harm.
    """
    from datasets import Dataset as Table
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers import PrinterCallback, ProgressCallback

    size = min(settings.batch_size, len(pairs[0]))
    steps = max(1, len(pairs[0]) // size)
    watch = _watcher(model, settings, steps, evaluate)
    with _isolated_rng(seed), tempfile.TemporaryDirectory() as scratch:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=scratch,
            max_steps=steps,
            per_device_train_batch_size=size,
            learning_rate=settings.learning_rate,
            warmup_steps=int(settings.warmup * steps),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.clip,
            lr_scheduler_type="linear",
            batch_sampler="no_duplicates",
            bf16=bf16,
            use_cpu=model.device.type == "cpu",
            seed=seed,
            data_seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=not progress,
            dataloader_pin_memory=False,
        )
        trainer = _trainer_class()(
            model=model,
            args=arguments,
            train_dataset=Table.from_dict({"anchor": list(pairs[0]), "positive": list(pairs[1])}),
            loss=MultipleNegativesRankingLoss(model, scale=settings.scale),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        if progress:
            trainer.remove_callback(ProgressCallback)
            trainer.add_callback(_bar())
        trainer.train()
    model.eval()
    best: int = watch.finish()
    log.info("dense: %d of %d steps kept, validation %s", best, steps, watch.history)
    return best * size


def _trainer_class() -> Any:
    from sentence_transformers import SentenceTransformerTrainer

    class Trainer(SentenceTransformerTrainer):  # type: ignore[misc]
        def add_model_card_callback(self, default_args_dict: Any) -> None:
            """None: a card would copy texts of the training data, and none is written."""

    return Trainer


def _bar() -> Any:
    """The Trainer's bar without its log lines, which would go to standard output."""
    from transformers import ProgressCallback

    class Bar(ProgressCallback):  # type: ignore[misc]
        def on_log(self, *args: Any, **kwargs: Any) -> None:
            """Nothing."""

    return Bar()


def _watcher(
    model: Any,
    settings: TrainingSettings,
    steps: int,
    evaluate: Callable[[], float] | None,
) -> Any:
    """A Trainer callback: looks at the validation set, keeps the best weights, keeps the time."""
    from transformers import TrainerCallback

    every = max(1, -(-steps // settings.looks))

    class Watch(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.started = time.monotonic()
            self.history: list[float] = []
            self.best = (-1.0, 0)
            self.stale = 0
            self.step = 0
            self.weights: dict[str, Any] = {}
            if evaluate is not None:
                self.look(0)

        def look(self, step: int) -> None:
            if evaluate is None:
                return
            value = evaluate()
            self.history.append(round(value, 4))
            if value > self.best[0]:
                self.best, self.stale = (value, step), 0
                self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
            else:
                self.stale += 1

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            self.step = state.global_step
            if self.step % every == 0 or self.step == steps:
                training = model.training
                model.eval()
                self.look(self.step)
                model.train(training)
            late = settings.max_seconds is not None and (
                time.monotonic() - self.started > settings.max_seconds
            )
            if late or self.stale >= settings.patience:
                control.should_training_stop = True
            return control

        def finish(self) -> int:
            if evaluate is None:
                return self.step
            model.load_state_dict(self.weights)
            return self.best[1]

    return Watch()


@contextmanager
def _isolated_rng(seed: int) -> Iterator[None]:
    """Seed the global generators that the Trainer draws from; put them back after."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
