"""Going on with a model's pre-training, on the texts of the catalogue, before it is fine-tuned.

Domain-adaptive pre-training (Gururangan et al. 2020, arXiv:2004.10964): an encoder fills in masked
words (Devlin et al. 2019, arXiv:1810.04805), a causal model foretells the next one. Both on Hugging
Face's Trainer and its collator.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from finetuning.arguments import trainer_arguments
from finetuning.randomness import isolated_rng
from finetuning.running import checkpoints, run
from finetuning.settings import Optimization, Pretraining
from finetuning.stopping import Watch
from fusion.errors import ConfigError, explain

__all__ = ["adapt_causal", "adapt_masked", "rows_of"]

log = logging.getLogger(__name__)

_WARMUP, _DECAY, _CLIP = 0.1, 0.01, 1.0
_SAVE_EVERY = 200  # steps


def adapt_masked(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    settings: Pretraining,
    *,
    seed: int,
    bf16: bool = False,
    workdir: Path | None = None,
    progress: bool = False,
    optimization: Optimization | None = None,
) -> dict[str, float]:
    """Train the encoder ``model`` in place to fill in masked words of ``texts``.

    The head that guesses words is new where ``model`` has none, tied to the word embeddings, and
    thrown away afterwards.

    Args:
        model: an encoder of transformers, with or without a head of its own.
        tokenizer: of that model, with a mask token.
        texts: of the catalogue; empty ones are left out.
        settings: the block of the YAML; 0 steps = nothing is done.
        seed: of the order, the masks and the new head.
        bf16: autocast to bfloat16.
        workdir: checkpoints of an unfinished run are kept here, and found again.
        progress: whether to show a bar.
        optimization: schedule, accumulation and the like.

    Returns:
        ``steps`` taken and ``loss`` (nats a token), the mean over the steps since the start or the
        checkpoint that was gone on from.

    Raises:
        ConfigError: the architecture has no masked language model, or the tokenizer no mask.
    """
    if settings.steps == 0:
        return {"steps": 0.0}
    if tokenizer.mask_token is None:
        raise _refusal(model, "a tokenizer with a mask token", type(tokenizer).__name__)
    training = model.training
    with isolated_rng(seed):
        whole = _with_word_head(model)
    done = _adapt(
        whole, tokenizer, texts, settings, True, seed, bf16, workdir, progress, optimization
    )
    model.train(training)
    return done


def adapt_causal(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    settings: Pretraining,
    *,
    seed: int,
    bf16: bool = False,
    workdir: Path | None = None,
    progress: bool = False,
    optimization: Optimization | None = None,
) -> dict[str, float]:
    """Train the causal ``model`` in place to foretell ``texts``; all else as in `adapt_masked`.

    Raises:
        ConfigError: ``model`` has no head that foretells words.
    """
    if settings.steps == 0:
        return {"steps": 0.0}
    if model.get_output_embeddings() is None:
        raise _refusal(model, "a causal language model", "one without a head")
    return _adapt(
        model, tokenizer, texts, settings, False, seed, bf16, workdir, progress, optimization
    )


def rows_of(tokenizer: Any, texts: Sequence[str], tokens: int) -> list[list[int]]:
    """``texts`` put end to end and cut into rows of ``tokens``, so that nothing is padded.

    What is left at the end is dropped, unless it is all there is. Each text ends as the tokenizer
    ends one, or with its end-of-text token where it adds none.
    """
    told = [text for text in texts if text.strip()]
    if not told:
        return []
    # longer texts than the model reads are cut into rows anyway
    pieces = tokenizer(told, return_attention_mask=False, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    adds = tokenizer.num_special_tokens_to_add() > 0
    flat: list[int] = []
    for piece in pieces:
        flat.extend(piece)
        if not adds and end is not None:
            flat.append(end)
    whole = len(flat) // tokens * tokens or len(flat)
    return [flat[at : at + tokens] for at in range(0, whole, tokens)]


def _with_word_head(model: Any) -> nn.Module:
    """``model`` itself, or a masked language model around its encoder."""
    from transformers import AutoModelForMaskedLM

    if model.get_output_embeddings() is not None:
        return model
    try:
        whole = AutoModelForMaskedLM.from_config(model.config)
    except ValueError as error:
        raise _refusal(model, "an architecture with a masked language model", "none") from error
    # a classifier's encoder, or the encoder itself
    setattr(whole, whole.base_model_prefix, model.base_model)
    whole.tie_weights()
    return whole.to(model.device)


def _adapt(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    settings: Pretraining,
    masked: bool,
    seed: int,
    bf16: bool,
    workdir: Path | None,
    progress: bool,
    optimization: Optimization | None,
) -> dict[str, float]:
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    optimizing = optimization or Optimization()
    longest = getattr(model.config, "max_position_embeddings", None) or settings.tokens
    longest = min(longest, tokenizer.model_max_length)
    rows = rows_of(tokenizer, texts, min(settings.tokens, longest))
    if not rows:
        log.warning("pre-training: no item has a text; nothing was learnt")
        return {"steps": 0.0}
    size = min(settings.batch_size, len(rows))
    count = settings.steps * size * optimizing.accumulate
    asked = {name: p.requires_grad for name, p in model.named_parameters()}
    training = model.training
    model.requires_grad_(True)
    key = repr((settings, optimization, masked, seed, bf16, len(rows), rows[0], rows[-1]))
    name = f"pretraining-{sha256(key.encode()).hexdigest()[:16]}"
    watch = Watch(
        None,
        steps=settings.steps,
        every=settings.steps,
        patience=1,
        bar="pre-training" if progress else "",
    )

    def collate(batch: Sequence[tuple[int, list[int]]]) -> Any:
        # masks of their own for each batch, whatever was drawn before: see `run`
        own = np.random.SeedSequence([seed, batch[0][0]]).generate_state(1)[0]
        masks = DataCollatorForLanguageModeling(
            tokenizer, mlm=masked, mlm_probability=settings.mask, seed=int(own)
        )
        return masks([row for _, row in batch])

    with isolated_rng(seed), checkpoints(workdir, name) as folder:
        arguments = trainer_arguments(
            optimizing,
            folder=folder,
            steps=settings.steps,
            batch_size=size,
            learning_rate=settings.learning_rate,
            warmup=_WARMUP,
            weight_decay=_DECAY,
            clip=_CLIP,
            bf16=bf16,
            seed=seed,
            save_every=None if workdir is None else _SAVE_EVERY,
        )
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**arguments | {"train_sampling_strategy": "sequential"}),
            train_dataset=_Rows(rows, count, seed),
            data_collator=collate,
        )
        report = run(trainer, watch)
    for parameter, gradient in asked.items():
        model.get_parameter(parameter).requires_grad_(gradient)
    model.train(training)
    losses = [entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry]
    log.info("pre-training: %d steps, loss %s", report["steps"], losses)
    return {**report, **({"loss": losses[-1]} if losses else {})}


class _Rows(Dataset[tuple[int, list[int]]]):  # type: ignore[misc]
    """``count`` numbered rows: pass after pass over ``rows``, each in an order of its own."""

    def __init__(self, rows: list[list[int]], count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        passes = [rng.permutation(len(rows)) for _ in range(-(-count // len(rows)))]
        self._rows, self._order = rows, np.concatenate(passes)[:count]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, n: int) -> tuple[int, list[int]]:
        return n, self._rows[self._order[n]]


def _refusal(model: Any, expected: str, got: str) -> ConfigError:
    return ConfigError(
        explain(
            f"pretraining of {type(model).__name__}", expected, got, "set pretraining.steps to 0"
        )
    )
