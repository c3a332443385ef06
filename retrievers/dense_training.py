"""Fine-tuning of the sentence encoder: adapters in, trained, best weights, merged; resumable."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from finetuning.settings import Seeds
from retrievers.dense_reading import Reader
from retrievers.dense_recipe import TrainingSettings
from retrievers.dense_tuning import merge, prepare, recomputing
from retrievers.encoder import Encoder

__all__ = ["pretrain", "train"]

log = logging.getLogger(__name__)

State = dict[str, Any]


def pretrain(
    encoder: Encoder,
    texts: Sequence[str],
    settings: TrainingSettings,
    *,
    tokens: int,
    seed: int,
    folder: Path | None,
    progress: bool,
) -> None:
    """Train the transformer of ``encoder`` in place to fill in masked words of ``texts``.

    Args:
        encoder: a transformer with a mask token stands first in it.
        texts: of the catalogue.
        settings: its ``pretraining``; 0 steps = nothing is done.
        tokens: how many the encoder is set to read.
        seed: of every draw.
        folder: keeps what comes out, and checkpoints on the way; ``None`` = nowhere.
        progress: whether to show a bar.
    """
    if settings.pretraining.steps == 0:
        return
    from finetuning.pretraining import adapt_masked

    def learn() -> tuple[State, int]:
        transformer = encoder.reading(tokens)[0]
        adapt_masked(
            transformer.model,
            transformer.tokenizer,
            texts,
            settings.pretraining,
            seed=seed,
            bf16=encoder.bf16,
            workdir=folder,
            progress=progress,
            optimization=settings.optimization,
        )
        return _state(encoder), 0

    state, _ = _once(folder, "pretrained", learn)
    encoder.model.load_state_dict(state)


def train(
    encoder: Encoder,
    lessons: Callable[[int], Reader],
    settings: TrainingSettings,
    *,
    evaluate: Callable[[], float] | None,
    seed: int,
    folder: Path | None,
    bar: str,
) -> int:
    """Fine-tune ``encoder`` in place and leave its best weights in it.

    Args:
        encoder: where it starts from.
        lessons: ``lessons(seed)`` gives the batches of a run.
        settings: the recipe.
        evaluate: NDCG of ``encoder`` on the inner validation set; ``None`` = train to the end, and
            weights of several seeds are averaged without a choice.
        seed: of every draw.
        folder: of checkpoints, from which the same call after a kill goes on; ``None`` = none.
        bar: name of the progress bar; "" = none.

    Returns:
        How many examples the weights that stand have seen: 0 where training only did harm.

    Raises:
        ConfigError: these adapters do not fit this architecture.
        DependencyError: a package that the settings name is not installed.
    """
    from finetuning.soup import soup

    if settings.tune.kind == "none":
        return 0
    if settings.tune.kind == "head":
        encoder.project()  # before the start is taken, so that every run has it
    start, pairs, seeds = _state(encoder), [], settings.seeds
    if evaluate is None:
        seeds = Seeds(count=seeds.count)

    def once(number: int) -> State:
        def learn() -> tuple[State, int]:
            encoder.model.load_state_dict(start)
            name = bar and (bar if seeds.count == 1 else f"{bar} {number + 1}/{seeds.count}")
            seen = _run(
                encoder, lessons(seed + number), settings, evaluate, seed + number, folder, name
            )
            return _state(encoder), seen

        state, seen = _once(folder if seeds.count > 1 else None, f"trained-{number}", learn)
        pairs.append(seen)
        return state

    def judge(state: Any) -> float:
        encoder.model.load_state_dict(state)
        assert evaluate is not None
        return evaluate()

    encoder.model.load_state_dict(soup(once, seeds, None if evaluate is None else judge))
    return round(sum(pairs) / len(pairs))


def _run(
    encoder: Encoder,
    reader: Reader,
    settings: TrainingSettings,
    evaluate: Callable[[], float] | None,
    seed: int,
    folder: Path | None,
    bar: str,
) -> int:
    """Train once; gives how many examples its best weights have seen."""
    from finetuning.arguments import trainer_arguments
    from finetuning.randomness import isolated_rng
    from finetuning.running import checkpoints, run
    from finetuning.stopping import Watch
    from retrievers.dense_loss import NextItem
    from retrievers.dense_trainer import make_trainer

    optimization = settings.optimization
    again = optimization.checkpoint_activations
    optimization = optimization.model_copy(update={"checkpoint_activations": False})
    batches = len(reader.batches)
    each = min(optimization.accumulate, batches)
    steps = batches // each
    every = -(-steps // settings.looks)
    name = "run-" + sha256(json.dumps([seed, encoder.digest]).encode()).hexdigest()[:16]
    prepare(encoder, settings.tune, seed)
    with isolated_rng(seed), checkpoints(folder, name) as kept:
        watch = Watch(
            evaluate,
            steps=steps,
            every=every,
            patience=settings.patience,
            max_seconds=settings.max_seconds,
            bar=bar,
        )
        trainer = make_trainer(
            encoder.model,
            NextItem(encoder.model, scale=settings.scale, r_drop=settings.r_drop),
            reader,
            batches,
            trainer_arguments(
                optimization,
                folder=kept,
                steps=steps,
                batch_size=1,
                learning_rate=settings.learning_rate,
                # the Trainer warms up by whole steps, from 0: one of a few would be lost
                warmup=settings.warmup if settings.warmup * steps >= 1 else 0.0,
                weight_decay=settings.weight_decay,
                clip=settings.clip,
                bf16=encoder.bf16,
                seed=seed,
                save_every=None if folder is None else every,
            ),
            settings.adversarial,
        )
        with recomputing(encoder, again):
            run(trainer, watch)
    encoder.model.eval()
    merge(encoder, settings.tune)
    log.info("dense: %d of %d steps kept, validation %s", watch.best_step, steps, watch.curve)
    return watch.best_step * each * len(reader.batches[0])


def _once(
    folder: Path | None, name: str, learn: Callable[[], tuple[State, int]]
) -> tuple[State, int]:
    """What ``learn`` gives; or what it gave earlier, if ``folder`` has it still."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    if folder is None:
        return learn()
    file = folder / f"{name}.safetensors"
    if file.is_file():
        with safe_open(file, "pt") as kept:
            return {key: kept.get_tensor(key) for key in kept.keys()}, int(  # noqa: SIM118
                kept.metadata()["pairs"]
            )
    state, pairs = learn()
    folder.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    save_file(
        {key: value.contiguous() for key, value in state.items()}, aside, {"pairs": str(pairs)}
    )
    aside.replace(file)
    return state, pairs


def _state(encoder: Encoder) -> State:
    return {name: value.detach().clone() for name, value in encoder.model.state_dict().items()}
