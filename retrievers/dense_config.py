"""Options of dense retrieval."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fusion.protocols import RetrieverConfig
from retrievers.dense_recipe import TrainingSettings
from retrievers.dense_sequence_config import SequenceSettings
from retrievers.encoder import Precision
from retrievers.faiss_settings import IndexSettings

__all__ = ["DenseConfig"]


class DenseConfig(RetrieverConfig):
    """Options of `Dense`."""

    base_model: str = Field(
        "all-MiniLM-L6-v2", description="a sentence encoder: a folder, a packaged model, a Hub name"
    )
    user: Literal["mean", "text", "sequence"] = Field(
        "mean",
        description="a user is the recency-weighted mean of the items met, or the texts of the "
        "newest ones read by the encoder as one text, or the sequence of their vectors read by a "
        "small transformer, which is trained after the encoder (that learns as for mean)",
    )
    half_life: float | None = Field(
        1.0, gt=0, description="mean: events after which an event counts half; null = never"
    )
    texts: int = Field(5, ge=1, description="text: how many newest items are read")
    sequence: SequenceSettings = Field(
        default_factory=SequenceSettings, description="sequence: the transformer"
    )
    item_tokens: int = Field(64, ge=4, description="tokens read of an item's text")
    user_tokens: int = Field(128, ge=4, description="text: tokens read of the history")
    batch_size: int = Field(64, ge=1, description="texts encoded at once")
    precision: Precision = Field(
        "auto",
        description="of training and of encoding the catalogue; auto = bfloat16 where the hardware "
        "multiplies it; histories are always encoded in float32",
    )
    store: Literal["float32", "float16"] = Field(
        "float32", description="how the items' vectors are kept; float16 = half the file"
    )
    train: TrainingSettings = Field(default_factory=TrainingSettings)
    index: IndexSettings = Field(default_factory=IndexSettings)
