"""The Trainer of sentence-transformers, fed with ready batches and small checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import SequentialSampler

from finetuning.adversarial import AdversarialMixin
from finetuning.settings import Adversarial

__all__ = ["make_trainer"]

_WEIGHTS = "trained.safetensors"


class _Trainer(AdversarialMixin, SentenceTransformerTrainer):  # type: ignore[misc]
    """Whole batches in, weights that are trained out.

    A checkpoint of sentence-transformers holds the whole encoder and is read as one, which an
    encoder with adapters in it cannot be.
    """

    loss_is_scaled_for_ga = False  # the loss is the mean of a batch

    def add_model_card_callback(self, default_args_dict: Any) -> None:
        """None: a card would copy texts of the training data, and none is written."""

    def get_batch_sampler(
        self, dataset: Any, batch_size: int, drop_last: bool, **_: Any
    ) -> DefaultBatchSampler:
        """In order: a row is a batch, and those come shuffled."""
        return DefaultBatchSampler(SequentialSampler(dataset), batch_size, drop_last)

    def collect_features(self, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """What `retrievers.dense_reading.Reader` made."""
        return inputs["features"], inputs["lesson"]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {n: p.detach().contiguous() for n, p in self.model.named_parameters()}
        asked = {n for n, p in self.model.named_parameters() if p.requires_grad}
        save_file({name: weights[name] for name in asked}, folder / _WEIGHTS)

    def _load_from_checkpoint(self, checkpoint_path: str, model: Any = None) -> None:
        self.model.load_state_dict(load_file(Path(checkpoint_path) / _WEIGHTS), strict=False)


def make_trainer(
    model: Any,
    loss: Any,
    reader: Any,
    batches: int,
    arguments: dict[str, Any],
    adversarial: Adversarial,
) -> Any:
    """A Trainer of ``model`` that takes the batches in their order.

    Args:
        model: a `SentenceTransformer`.
        loss: of ``features`` and ``lesson``.
        reader: the collator; is asked for ``[{"number": k}]``.
        batches: how many there are.
        arguments: of `SentenceTransformerTrainingArguments`.
        adversarial: whether and how word embeddings are moved.
    """
    from datasets import Dataset as Table

    trainer = _Trainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            **{**arguments, "per_device_train_batch_size": 1}  # a row is a whole batch
        ),
        train_dataset=Table.from_dict({"number": list(range(batches))}),
        data_collator=reader,
        loss=loss,
    )
    trainer.adversarial = adversarial
    return trainer
