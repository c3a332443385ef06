"""Every setting of the BERT ranker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rankers.bert_config_training import Training

__all__ = ["Config"]


class Config(Training):
    """Settings of `rankers.bert.Bert`; the defaults train within two minutes on two cores.

    What concerns the training is in `rankers.bert_config_training.Training`.
    """

    base_model: str = Field(
        "all-MiniLM-L6-v2",
        description="encoder to start from: a folder, a packaged model or a name of the hub; one "
        "that takes position ids and transformers' attention interface (BERT, MiniLM, RoBERTa and "
        "their kin)",
    )
    mode: Literal["shared", "cross", "late"] = Field(
        "shared",
        description="shared: the history is encoded once, candidates look at it. cross: history "
        "and item in one sequence, full attention, as in a CrossEncoder; the dearest. late: items "
        "are encoded ahead and meet the history at the end only (MaxSim); the cheapest",
    )
    late_size: int | None = Field(
        None,
        ge=1,
        description="late: numbers an item token's vector has, by a learned projection; null = "
        "those of the encoder, without projection",
    )
    layers: int | None = Field(
        None,
        ge=1,
        description="keep only so many evenly spaced layers of base_model before fine-tuning; "
        "null = all (see `rankers.bert_layers`)",
    )
    history_events: int = Field(8, ge=1, description="newest events with text that are read")
    history_tokens: int = Field(96, ge=1, description="tokens of the history at most")
    history_order: Literal["oldest_first", "newest_first"] = Field(
        "oldest_first", description="in which order the events of the history are written"
    )
    history_ratings: bool = Field(
        False,
        description="write `liked` before an event rated at the data's mean or above, `disliked` "
        "before one below it",
    )
    history_gaps: bool = Field(
        False,
        description="write before an event how long it lies before the newest: today, last week, "
        "last month, last year, long ago (see `rankers.bert_history`)",
    )
    item_tokens: int = Field(24, ge=1, description="tokens of an item's text at most")
    history_bias: float = Field(
        -3.0,
        description="added to the attention of a candidate to the history before the softmax, in "
        "training and in use; below 0 a candidate begins by reading mainly itself, as the encoder "
        "was pretrained, and the zero-shot ranking is better",
    )

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of training (autocast) and scoring; auto = bfloat16 where it is fast"
    )
    backend: Literal["torch", "openvino"] = Field(
        "torch",
        description="what computes the encoder in use (training is torch's): openvino converts it "
        "on the first ask, in `dtype` (auto = bfloat16 where native); extra `openvino`",
    )
    quantize: Literal["none", "int8"] = Field(
        "none",
        description="int8: weights and activations of the encoder's matrices, post-training by "
        "nncf, calibrated on histories of the fitted data; needs backend: openvino. Faster, and "
        "scores move a little",
    )
    max_tokens: int = Field(
        4096, ge=1, description="tokens after which a history's candidates begin another pass"
    )
    batch_tokens: int = Field(4096, ge=1, description="tokens scored in one pass")

    @model_validator(mode="after")
    def _fitting(self) -> Config:
        if self.quantize != "none" and self.backend != "openvino":
            raise ValueError("quantize: int8 needs backend: openvino")
        if self.late_size is not None and self.mode != "late":
            raise ValueError("late_size belongs to mode: late")
        return self
