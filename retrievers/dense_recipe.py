"""The block `train` of dense retrieval: how the encoder is fine-tuned."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

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
from fusion.protocols import ComponentConfig

__all__ = ["TrainingSettings"]


class TrainingSettings(ComponentConfig):
    """In-batch contrastive learning with AdamW, stopped early."""

    max_pairs: int = Field(
        8_000, ge=0, description="examples trained on by fit; 0 = zero-shot, no training at all"
    )
    refit_share: float = Field(
        0.25, ge=0, le=1, description="refit trains on this share of the examples that helped fit"
    )
    epochs: int = Field(1, ge=1, description="at most so many passes over the events")
    max_seconds: float | None = Field(
        None, gt=0, description="stop after so long; results then depend on the machine's speed"
    )
    batch_size: int = Field(
        128, ge=2, description="examples a step; all items of the batch are negatives"
    )
    history: int = Field(
        5, ge=1, description="user: mean: how many of the newest items make up a user in training"
    )
    together: int = Field(
        8,
        ge=1,
        description="user: mean: so many events of a user that follow each other come in one "
        "batch; their histories share items, so that fewer texts are encoded",
    )
    learning_rate: float = Field(5e-5, gt=0, description="peak rate")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases and norms have none")
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    scale: float = Field(20.0, gt=0, description="the cosines are multiplied by this")
    logq: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how far logits are corrected for popular items turning up in more batches; "
        "0 = popular items are held down, 1 = scores grow with popularity as the events do",
    )
    looks: int = Field(4, ge=1, description="how often to look at the inner validation set")
    patience: int = Field(2, ge=1, description="looks without improvement before stopping")
    validation_users: int = Field(
        300, ge=0, description="users whose newest event is held out; 0 = never stop early"
    )
    validation_items: int = Field(
        1_000, ge=10, description="items that it is ranked among, to choose the weights only"
    )
    tune: Tune = Field(
        default_factory=Tune,
        description="which weights are trained; head = a square projection put on the encoder, "
        "last = the last layers; adapters are merged; prefix and prompt cannot be",
    )
    optimization: Optimization = Field(default_factory=Optimization)
    adversarial: Adversarial = Field(default_factory=Adversarial)
    augmentation: Augmentation = Field(default_factory=Augmentation)
    pretraining: Pretraining = Field(
        default_factory=Pretraining, description="on masked words of the catalogue's texts, first"
    )
    hard_negatives: HardNegatives = Field(
        default_factory=HardNegatives,
        description="the model's own name stands for the encoder before fine-tuning",
    )
    propensity: Propensity = Field(default_factory=Propensity)
    seeds: Seeds = Field(default_factory=Seeds)
    r_drop: float = Field(
        0.0,
        ge=0,
        description="weight of the divergence between two passes with other dropout (Liang et al. "
        "2021, arXiv:2106.14448); 0 = one pass",
    )

    @field_validator("tune")
    @classmethod
    def _mergeable(cls, tune: Tune) -> Tune:
        if tune.kind in ("prefix", "prompt"):
            raise ValueError(
                f"{tune.kind} cannot be merged into an encoder that others can load; use lora, "
                "dora, ia3, last or head"
            )
        return tune

    @model_validator(mode="after")
    def _share(self) -> TrainingSettings:
        if self.hard_negatives.share == 1:
            raise ValueError("hard_negatives.share must be below 1: the batch gives some itself")
        return self
