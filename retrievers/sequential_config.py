"""Options of the sequential retriever."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fusion.protocols import ComponentConfig, RetrieverConfig

__all__ = ["NextItemTraining", "SequentialConfig", "SequentialTraining"]


class NextItemTraining(ComponentConfig):
    """AdamW on next-item prediction at every event, stopped early on NDCG@10.

    Rates, batches, the correction and the share of texts alone were chosen on validation events of
    Amazon Beauty and MovieLens 1M; the loss is what differs least, how long it is trained most.
    """

    loss: Literal["auto", "softmax", "sampled_softmax", "gbce"] = Field(
        "auto",
        description="softmax = over every item; sampled_softmax = over the target and shared "
        "sampled negatives; gbce = generalised binary cross-entropy on the same; auto = softmax "
        "where the catalogue is no larger than `negatives`, else sampled_softmax",
    )
    negatives: int = Field(
        1024, ge=1, description="sampled items a batch, shared by all its positions"
    )
    negatives_power: float = Field(
        0.75, ge=0, le=1, description="an item is drawn by its events to this power; 0 = uniform"
    )
    logq: float = Field(
        1.0, ge=0, le=1, description="sampled_softmax: how far the drawing is corrected for"
    )
    calibration: float = Field(
        0.75,
        ge=0,
        le=1,
        description="gbce: 0 = plain binary cross-entropy, 1 = scores calibrated as if every item "
        "had been a negative",
    )
    epochs: int = Field(20, ge=1, description="at most so many passes over the events")
    max_steps: int = Field(
        6000, ge=0, description="at most so many steps of fit; 0 = untrained, for tests of speed"
    )
    max_seconds: float | None = Field(
        None, gt=0, description="stop after so long; results then depend on the machine's speed"
    )
    refit: Literal["continue", "scratch"] = Field(
        "continue",
        description="continue = refit goes on from the fitted weights; scratch = it trains anew on "
        "everything, for as many steps as helped fit: better, at the price of another fit",
    )
    refit_share: float = Field(
        0.3, ge=0, le=1, description="continue: for this share of the steps that helped fit"
    )
    batch_events: int = Field(2048, ge=1, description="events a step, padding included")
    learning_rate: float = Field(2e-3, gt=0, description="peak rate; linear decay after a warm-up")
    refit_learning_rate: float = Field(1e-3, gt=0, description="continue: peak rate")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps that warm up")
    weight_decay: float = Field(0.01, ge=0, description="of matrices; biases and norms have none")
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    looks: int = Field(8, ge=1, description="how often to look at the inner validation set")
    patience: int = Field(3, ge=1, description="looks without improvement before stopping")
    validation_users: int = Field(
        2000,
        ge=0,
        description="users whose newest event is held out; where there are fewer, each gives up to "
        "five; 0 = never stop early",
    )
    shuffle_ties: bool = Field(
        True,
        description="events of one time stamp come in another order each epoch: the data says "
        "nothing of their order, so none is to be learnt",
    )


class SequentialTraining(NextItemTraining):
    """The recipe of `Sequential`."""

    text_only: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the items that stand, in each batch, for their text alone, so that "
        "items nobody has met yet can be ranked (dropout of ids; Volkovs et al. 2017, DropoutNet)",
    )


class SequentialConfig(RetrieverConfig):
    """Options of `Sequential`."""

    size: int = Field(128, ge=2, description="numbers an item's embedding has")
    layers: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(2, ge=1, description="attention heads; must divide `size`")
    dropout: float = Field(0.3, ge=0, lt=1, description="in embeddings, attention and blocks")
    length: int = Field(100, ge=1, description="newest events that are read")
    gaps: bool = Field(
        True, description="whether the time between events is read, where times are known"
    )
    text: str | None = Field(
        "all-MiniLM-L6-v2",
        description="a sentence encoder whose vectors of the items' texts are part of their "
        "embeddings, by a learned projection: a folder, a packaged model, a Hub name; null = ids "
        "only, and items nobody met are cold",
    )
    text_tokens: int = Field(64, ge=4, description="tokens read of an item's text")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of training; auto = bfloat16 where the hardware multiplies it; always asked "
        "in float32",
    )
    batch_size: int = Field(256, ge=1, description="queries scored at once")
    train: SequentialTraining = SequentialTraining()

    @model_validator(mode="after")
    def _heads_divide(self) -> SequentialConfig:
        if self.size % self.heads:
            raise ValueError(f"size {self.size} is no multiple of heads {self.heads}")
        return self
