"""The block `sequence` of dense retrieval: how a user is read as a sequence of items."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fusion.protocols import ComponentConfig
from retrievers.sequential_config import NextItemTraining

__all__ = ["SequenceSettings", "SequenceTraining"]


class SequenceTraining(NextItemTraining):
    """The recipe of the transformer: an epoch costs little, so that a refit starts anew."""

    negatives: int = Field(
        2048, ge=1, description="sampled items a batch, shared by all its positions"
    )
    epochs: int = Field(12, ge=1, description="at most so many passes over the events")
    learning_rate: float = Field(1e-3, gt=0, description="peak rate; linear decay after a warm-up")
    refit: Literal["continue", "scratch"] = Field(
        "scratch",
        description="continue = refit goes on from the fitted weights; scratch = it trains anew on "
        "everything, for as many steps as helped fit",
    )


class SequenceSettings(ComponentConfig):
    """A small causal transformer over the vectors of the items met, trained after the encoder."""

    size: int = Field(256, ge=2, description="numbers an item's projected vector has")
    layers: int = Field(1, ge=1, description="transformer blocks")
    heads: int = Field(4, ge=1, description="attention heads; must divide `size`")
    dropout: float = Field(0.2, ge=0, lt=1, description="in embeddings, attention and blocks")
    length: int = Field(50, ge=1, description="newest events that are read")
    gaps: bool = Field(
        True, description="whether the time between events is read, where times are known"
    )
    train: SequenceTraining = Field(
        default_factory=SequenceTraining,
        description="on the events that the encoder may learn from",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> SequenceSettings:
        if self.size % self.heads:
            raise ValueError(f"size {self.size} is no multiple of heads {self.heads}")
        return self
