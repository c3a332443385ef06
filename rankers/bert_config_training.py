"""Settings of the BERT ranker's training: what is learned, which weights, from which examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from finetuning.settings import (
    Adversarial,
    Augmentation,
    HardNegatives,
    Optimization,
    Pretraining,
    Propensity,
    Seeds,
    Tune,
)
from fusion.protocols import RankerConfig

__all__ = ["Training"]

#: losses of the heads that have several; the first is the default
_LOSSES: dict[str, tuple[str, ...]] = {
    "pairwise": ("bpr", "ranknet"),
    "listwise": ("softmax", "lambda"),
}


class Training(RankerConfig):
    """The part of `rankers.bert.Config` that says how it is trained.

    Learning rate, warm-up and weight decay are those usual for fine-tuning BERT (Devlin et al.
    2019, appendix A.3: 2e-5 to 5e-5, dropout 0.1, warm-up, decay 0.01), at the upper end since the
    budget of steps is small.
    """

    head: Literal["ctr", "rating", "pairwise", "listwise", "multi_task"] = Field(
        "ctr",
        description="ctr: binary cross-entropy, met next or sampled; the score is the logit. "
        "rating: mean squared error on the standardised ratings; the score is the expected rating. "
        "pairwise, listwise: what was met next above what was sampled, by `loss`; the score orders "
        "a user's items and has no unit. multi_task: ctr, and the rating of what was met from a "
        "second head on the same features, in training only; the score is the logit of ctr",
    )
    loss: Literal["bpr", "ranknet", "softmax", "lambda"] | None = Field(
        None,
        description="of the head: pairwise has bpr (default) and ranknet, listwise softmax "
        "(default) and lambda",
    )
    task_weights: Literal["fixed", "uncertainty"] = Field(
        "fixed",
        description="multi_task: ctr counts 1 and the rating `rating_weight`; or both by learned "
        "uncertainty",
    )
    rating_weight: float = Field(
        0.5, gt=0, description="multi_task, fixed: weight of the rating's squared error"
    )

    tune: Tune = Field(
        Tune(),
        description="what is trained besides the head, or its kind alone: full, last, lora, dora, "
        "ia3; none and head = the head only. Adapters take rank, alpha and dropout from "
        "`lora_rank`, `lora_alpha` and `dropout` unless they are said here, and lora and dora go "
        "into all linear layers of the encoder. They are merged after training; prefix and prompt "
        "cannot be",
    )
    freeze_embeddings: bool = Field(
        True, description="keep the word embeddings of a fully tuned encoder as they are"
    )
    lora_rank: int = Field(16, ge=1, description="rank of the adapters")
    lora_alpha: float = Field(32.0, gt=0, description="scale of the adapters, over their rank")

    max_steps: int = Field(80, ge=0, description="optimizer steps of fit; 0 = zero-shot")
    max_examples: int | None = Field(
        None, ge=1, description="histories read in fit at most (a bound on steps x batch_size)"
    )
    refit_steps: int = Field(
        15, ge=0, description="optimizer steps of refit, from the fitted state"
    )
    batch_size: int = Field(16, ge=1, description="histories a step")
    negatives: int = Field(
        7, ge=1, description="sampled items beside each positive; ratings beside the first"
    )
    popular_negatives: float = Field(
        0.5, ge=0, le=1, description="share of negatives drawn by popularity; the rest is uniform"
    )
    popularity_power: float = Field(0.75, ge=0, description="exponent of popularity in that draw")
    learning_rate: float = Field(5e-5, gt=0, description="peak rate of the encoder (AdamW)")
    head_learning_rate: float = Field(1e-3, gt=0, description="peak rate of the head")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases and norms have none")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the encoder and before the head")

    validation_users: int = Field(
        120, ge=0, description="users whose last training event validates; 0 = no early stopping"
    )
    validation_candidates: int = Field(
        24, ge=1, description="sampled items that event is ranked against"
    )
    evaluate_every: int = Field(40, ge=1, description="steps between validations and checkpoints")
    patience: int = Field(3, ge=1, description="validations without a better one before it stops")

    optimization: Optimization = Field(
        Optimization(),
        description="schedule, accumulation, memory and tracking; batches are of like length "
        "anyway, whatever group_by_length says",
    )
    adversarial: Adversarial = Field(
        Adversarial(), description="training on word embeddings that are moved to do harm"
    )
    r_drop: float = Field(
        0.0,
        ge=0,
        description="weight of the divergence between two passes with different dropout (R-Drop, "
        "Liang et al. 2021, arXiv:2106.14448); above 0 every step reads its batch twice",
    )
    hard_negatives: HardNegatives = Field(
        HardNegatives(),
        description="negatives that other models of the engine rank high; they take the place of "
        "sampled ones",
    )
    propensity: Propensity = Field(
        Propensity(),
        description="inverse-propensity weights: of a moment by the item met next; of a rating by "
        "its item (head: rating)",
    )
    augmentation: Augmentation = Field(
        Augmentation(), description="other histories and other texts, in training only"
    )
    shuffle_ties: bool = Field(
        False,
        description="events of one time stamp in a random order, a new one each time, in training: "
        "they have none of their own",
    )
    pretraining: Pretraining = Field(
        Pretraining(), description="masked words of the catalogue's texts, before fit"
    )
    seeds: Seeds = Field(
        Seeds(), description="train several times from one start and average the weights"
    )

    @property
    def criterion(self) -> str:
        """The loss of the head: its own name where it has only one."""
        return self.loss or _LOSSES.get(self.head, (self.head,))[0]

    @model_validator(mode="before")
    @classmethod
    def _adapters(cls, value: Any) -> Any:
        """Give adapters what the older fields say of them, where ``tune`` itself is silent."""
        tune = value.get("tune") if isinstance(value, Mapping) else None
        if isinstance(tune, str):
            tune = {"kind": tune}
        elif isinstance(tune, Tune):
            tune = tune.model_dump(exclude_unset=True)
        if not isinstance(tune, Mapping) or tune.get("kind") not in ("lora", "dora"):
            return value
        fields = {"rank": "lora_rank", "alpha": "lora_alpha", "dropout": "dropout"}
        usual = {
            name: value.get(field, cls.model_fields[field].default)
            for name, field in fields.items()
        }
        return {**value, "tune": {**usual, "targets": "all-linear", **tune}}

    @model_validator(mode="after")
    def _trainable(self) -> Training:
        if self.tune.kind in ("prefix", "prompt"):
            raise ValueError(
                f"tune: {self.tune.kind} puts learned states before the text. A BERT encoder takes "
                "none, and they could not be merged into the plain encoder that is saved; choose "
                "lora, dora, ia3, last or head"
            )
        if self.loss is not None and self.loss not in _LOSSES.get(self.head, ()):
            fitting = next(head for head, losses in _LOSSES.items() if self.loss in losses)
            raise ValueError(f"loss: {self.loss} belongs to head: {fitting}")
        if self.r_drop > 0 and self.dropout == 0:
            raise ValueError("r_drop compares two passes under dropout; set dropout above 0")
        if self.hard_negatives.share > 0 and self.head == "rating":
            raise ValueError("hard_negatives: head: rating learns from ratings, without negatives")
        return self
