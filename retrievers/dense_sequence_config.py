"""The block `sequence` of dense retrieval: how a user is read as a sequence of items."""

from __future__ import annotations

from pydantic import Field, model_validator

from fusion.protocols import ComponentConfig
from retrievers.sequential_config import NextItemTraining

__all__ = ["SequenceSettings"]


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
    train: NextItemTraining = Field(
        default_factory=lambda: NextItemTraining(
            negatives=2048, epochs=12, learning_rate=1e-3, refit="scratch"
        ),
        description="on the events that the encoder learnt from",
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> SequenceSettings:
        if self.size % self.heads:
            raise ValueError(f"size {self.size} is no multiple of heads {self.heads}")
        return self
