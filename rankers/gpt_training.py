"""Fine-tuning of the causal model with Hugging Face's Trainer: LoRA through peft, or in full."""

from __future__ import annotations

import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rankers.device import quiet
from rankers.gpt_config import LoraSettings, TrainingSettings
from rankers.gpt_examples import Example
from rankers.gpt_reader import Reader
from rankers.gpt_scoring import last_places
from rankers.packing import Packed, pack

__all__ = [
    "adapter_of",
    "merged",
    "train",
    "with_lora",
]

Arrays = Mapping[str, npt.NDArray[Any]]
_IGNORED = -100  # the label that cross-entropy leaves out, by torch's default


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Seed the global generators that torch and the Trainer draw from; put them back after."""
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def with_lora(
    model: Any, settings: LoraSettings, adapter: Arrays | None = None, *, seed: int = 0
) -> Any:
    """``model`` with LoRA layers inside: new ones (an update of zero), or those of ``adapter``."""
    import torch
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    targets = settings.target_modules
    if targets == "auto":
        targets = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(
            model.config.model_type, "all-linear"
        )
    recipe = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings(), torch.random.fork_rng():
        # peft asks transformers by a name that transformers is about to give up
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        # ... and says that it has noticed GPT-2's transposed layers
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, recipe)
    if adapter is not None:
        state = {name: torch.from_numpy(np.array(array)) for name, array in adapter.items()}
        set_peft_model_state_dict(wrapped, state)
    return wrapped


def adapter_of(wrapped: Any) -> dict[str, npt.NDArray[np.float32]]:
    """The LoRA weights of a model made by `with_lora`, by name, float32."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    return {name: tensor.float().cpu().numpy().copy() for name, tensor in state.items()}


def merged(model: Any, settings: LoraSettings, adapter: Arrays) -> Any:
    """``model`` with the update added to its weights, so that scoring costs no more than before."""
    return with_lora(model, settings, adapter).merge_and_unload().eval()


def train(
    model: Any,
    reader: Reader,
    rows: Sequence[Example],
    settings: TrainingSettings,
    *,
    tokens: int,
    answers: tuple[int, int] | None,
    evaluate: Callable[[], float] | None,
    half: bool,
    seed: int,
    workdir: Path | None,
    progress: bool,
) -> dict[str, float]:
    """Train the parameters of ``model`` that ask for it, in place; the best weights stand.

    Args:
        model: a causal LM, with LoRA layers inside or not.
        reader: of that causal LM.
        rows: training rows, not empty.
        settings: the recipe.
        tokens: how many tokens to train on, repeats included.
        answers: token ids of yes and no; ``None`` = likelihood of the text.
        evaluate: NDCG on the inner validation set, higher is better; ``None`` = no early stopping.
        half: autocast to bfloat16.
        seed: of the order of rows and of dropout.
        workdir: checkpoints of an unfinished run are kept here, and found again.
        progress: whether to show the Trainer's bar.

    Returns:
        ``steps``, ``tokens`` and, with early stopping, ``ndcg`` of the best weights.
    """
    from transformers import EarlyStoppingCallback, TrainingArguments, trainer_utils

    per_pass = sum(row.size for row in rows)
    passes = min(settings.epochs, max(1.0, tokens / per_pass))
    steps = max(1, round(passes * len(rows) / settings.batch_size))
    steps = min(steps, settings.max_steps or steps)
    watched = evaluate is not None
    every = "steps" if watched else "no"
    with quiet(), isolated_rng(seed), _checkpoints(workdir) as folder:
        trainer = _trainer_class()(
            model=model,
            train_dataset=list(rows),
            eval_dataset=[rows[0]] if watched else None,  # asked for, and not looked at
            data_collator=collate,
            reader=reader,
            answers=answers,
            validate=evaluate,
            callbacks=[EarlyStoppingCallback(settings.patience)] if watched else [],
            args=TrainingArguments(
                output_dir=str(folder),
                max_steps=steps,
                per_device_train_batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                lr_scheduler_type=settings.schedule,
                warmup_steps=round(settings.warmup * steps),
                weight_decay=settings.weight_decay,
                max_grad_norm=settings.clip,
                optim="adamw_torch",
                bf16=half,
                use_cpu=next(model.parameters()).device.type == "cpu",
                eval_strategy=every,
                save_strategy="steps" if watched or workdir is not None else "no",
                eval_steps=settings.eval_steps,
                save_steps=settings.eval_steps,
                save_total_limit=1,
                save_only_model=workdir is None,
                load_best_model_at_end=watched,
                metric_for_best_model="eval_ndcg" if watched else None,
                greater_is_better=True if watched else None,
                restore_callback_states_from_checkpoint=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
                logging_strategy="no",
                report_to="none",
                disable_tqdm=not progress,
                seed=seed,
            ),
        )
        last = trainer_utils.get_last_checkpoint(str(folder))
        trainer.train(resume_from_checkpoint=last)
        done = {"steps": float(trainer.state.global_step)}
        if watched:
            done["ndcg"] = float(trainer.state.best_metric)
    return done


@contextmanager
def _checkpoints(workdir: Path | None) -> Iterator[Path]:
    """A folder for checkpoints. What is left in ``workdir`` is of a run that did not end."""
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="gpt-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    workdir.mkdir(parents=True, exist_ok=True)
    yield workdir
    shutil.rmtree(workdir, ignore_errors=True)


def collate(rows: Sequence[Example]) -> dict[str, Any]:
    """A batch of tensors (B, T): ``tokens``, ``positions``, ``segments`` and ``labels``.

    A label is the token itself where it is to be predicted, 1 or 0 at the end of a question, else
    -100 (likelihood), NaN (yes_no).
    """
    import torch

    packed = pack(
        [row.history.tolist() for row in rows],
        [[item.tolist() for item in row.candidates] for row in rows],
        0,
    )
    labels: npt.NDArray[Any]
    if rows[0].labels:
        labels = np.full(packed.tokens.size, np.nan, np.float32)
        labels[last_places(packed)] = np.concatenate([row.labels for row in rows])
        labels = labels.reshape(packed.tokens.shape)
    else:
        labels = np.where(packed.segments > 0, packed.tokens, _IGNORED)
    arrays = {"tokens": packed.tokens, "positions": packed.positions, "segments": packed.segments}
    return {k: torch.from_numpy(v) for k, v in (arrays | {"labels": labels}).items()}


def _trainer_class() -> Any:
    """Trainer with our losses and validation; a function, as transformers is imported late."""
    import torch
    from transformers import PrinterCallback, ProgressCallback, Trainer

    class Bar(ProgressCallback):  # type: ignore[misc]
        """The Trainer's bar without its log lines, which would go to standard output."""

        def on_log(self, *args: Any, **kwargs: Any) -> None:
            """Nothing."""

    class PackedTrainer(Trainer):  # type: ignore[misc]
        """Hugging Face's loop on packed rows."""

        def __init__(self, *, reader: Any, answers: Any, validate: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.reader, self.answers, self.validate = reader, answers, validate
            self.remove_callback(PrinterCallback)
            if not self.args.disable_tqdm:
                self.remove_callback(ProgressCallback)
                self.add_callback(Bar())

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any
        ) -> Any:
            tokens, labels = inputs["tokens"], inputs["labels"]
            if self.answers is None:
                # padding stands on the right, where no causal token looks: no mask is needed
                loss = model(
                    input_ids=tokens,
                    position_ids=inputs["positions"],
                    labels=labels,
                    use_cache=False,
                ).loss
            else:
                packed = Packed(
                    *(inputs[k].cpu().numpy() for k in ("tokens", "positions", "segments"))
                )
                flat = labels.reshape(-1)
                rows = torch.nonzero(~flat.isnan())[:, 0]
                difference = self.reader.answer(packed, rows.cpu().numpy(), *self.answers)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(difference, flat[rows])
            return (loss, {}) if return_outputs else loss

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            self.model.eval()
            metrics = {"eval_ndcg": self.validate()}
            self.model.train()
            self.control: Any = self.callback_handler.on_evaluate(
                self.args, self.state, self.control, metrics
            )
            return metrics

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            """Keep the figures without printing them."""
            self.state.log_history.append({**logs, "step": self.state.global_step})

    return PackedTrainer
