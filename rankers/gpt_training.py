"""Fine-tuning of the causal model with Hugging Face's Trainer, whatever of it is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rankers.device import quiet
from rankers.gpt_config import GptConfig
from rankers.gpt_objectives import Objective, collate
from rankers.gpt_reader import Reader
from rankers.gpt_rows import Example

__all__ = ["train"]


def train(
    model: Any,
    reader: Reader,
    rows: Sequence[Example],
    config: GptConfig,
    *,
    objective: Objective,
    tokens: int,
    evaluate: Callable[[], float] | None,
    half: bool,
    seed: int,
    workdir: Path | None,
    progress: bool,
) -> dict[str, float]:
    """Train the parameters of ``model`` that ask for it, in place; the best weights stand.

    Args:
        model: a causal LM, with adapters inside or not.
        reader: of that causal LM.
        rows: training rows, not empty.
        config: the recipe.
        objective: what is minimised.
        tokens: how many tokens to train on, repeats included.
        evaluate: NDCG on the inner validation set, higher is better; ``None`` = no early stopping.
        half: autocast to bfloat16.
        seed: of the order of rows and of dropout.
        workdir: checkpoints of an unfinished run are kept here, and found again.
        progress: whether to show a bar.

    Returns:
        What `finetuning.stopping.Watch.report` says.
    """
    from transformers import TrainingArguments

    from finetuning.arguments import trainer_arguments
    from finetuning.randomness import isolated_rng
    from finetuning.running import checkpoints, run

    settings, optimization = config.training, config.optimization
    per_pass = sum(row.size for row in rows)
    passes = min(settings.epochs, max(1.0, tokens / per_pass))
    batch = settings.batch_size * optimization.accumulate
    steps = max(1, round(passes * len(rows) / batch))
    steps = min(steps, settings.max_steps or steps)
    watch = _watch_class(settings.may_stay)(
        evaluate,
        steps=steps,
        every=settings.eval_steps,
        patience=settings.patience,
        bar="gpt" if progress else "",
    )
    parent = None if workdir is None else workdir.parent
    name = "gpt" if workdir is None else workdir.name
    with quiet(), isolated_rng(seed), checkpoints(parent, name) as folder:
        arguments = trainer_arguments(
            optimization,
            folder=folder,
            steps=steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            warmup=settings.warmup,
            weight_decay=settings.weight_decay,
            clip=settings.clip,
            bf16=half,
            seed=seed,
            save_every=None if workdir is None else settings.eval_steps,
        )
        arguments["warmup_steps"] = round(settings.warmup * steps)  # a refit may have one step only
        arguments["use_cpu"] = reader.device.type == "cpu"  # the YAML may say so on a GPU's machine
        trainer = _trainer_class()(
            model=model,
            train_dataset=list(rows),
            data_collator=collate,
            reader=reader,
            objective=objective,
            config=config,
            args=TrainingArguments(
                **arguments,
                remove_unused_columns=False,
                restore_callback_states_from_checkpoint=True,
            ),
        )
        return run(trainer, watch)


def _watch_class(may_stay: bool) -> Any:
    """The shared watch; unless the model ``may_stay`` as it was, it first looks after some steps.

    On a few dozen users a model that was just begun on is hardly told from an untrained one, and
    the untrained one would often win by chance.
    """
    from finetuning.stopping import Watch

    class LaterWatch(Watch):
        """Without the look before the first step."""

        def _look(self, model: Any, step: int) -> None:
            if step > 0:
                super()._look(model, step)

    return Watch if may_stay else LaterWatch


def _trainer_class() -> Any:
    """Trainer with our losses; a function, as transformers is imported late."""
    from transformers import Trainer
    from transformers.trainer_pt_utils import LengthGroupedSampler

    from finetuning.adversarial import AdversarialMixin
    from finetuning.r_drop import r_drop_loss, r_drop_scores, twice

    class PackedTrainer(AdversarialMixin, Trainer):  # type: ignore[misc]
        """Hugging Face's loop on packed rows."""

        loss_is_scaled_for_ga = False  # ours is the mean of a batch

        def __init__(self, *, reader: Any, objective: Any, config: GptConfig, **kwargs: Any):
            super().__init__(**kwargs)
            self.reader, self.objective, self.r_drop = reader, objective, config.r_drop
            self.adversarial = config.adversarial
            self.divergence = r_drop_loss if objective.divergence == "lists" else r_drop_scores

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
        ) -> Any:
            loss, _told = twice(
                lambda: self.objective(model, self.reader, inputs), self.r_drop, self.divergence
            )
            return (loss, {}) if return_outputs else loss

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            rows = self.train_dataset if train_dataset is None else train_dataset
            if self.args.train_sampling_strategy != "group_by_length":
                return super()._get_train_sampler(train_dataset)
            size = self.args.train_batch_size * self.args.gradient_accumulation_steps
            return LengthGroupedSampler(size, lengths=[row.size for row in rows])

    return PackedTrainer
