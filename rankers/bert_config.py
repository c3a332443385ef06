"""Every setting of the BERT ranker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fusion.protocols import RankerConfig

__all__ = ["Config"]


class Config(RankerConfig):
    """Settings of `rankers.bert.Bert`; the defaults train within two minutes on two cores.

    Learning rate, warm-up and weight decay are those usual for fine-tuning BERT (Devlin et al.
    2019, appendix A.3: 2e-5 to 5e-5, dropout 0.1, warm-up, decay 0.01), at the upper end since the
    budget of steps is small.
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
    head: Literal["ctr", "rating"] = Field(
        "ctr",
        description="ctr: binary cross-entropy, met next or sampled; the score is the logit. "
        "rating: mean squared error on the standardised ratings; the score is the expected rating",
    )
    tune: Literal["full", "lora", "none"] = Field(
        "full", description="what is trained besides the head: the encoder, adapters, or nothing"
    )
    freeze_embeddings: bool = Field(
        True, description="keep the word embeddings of a fully tuned encoder as they are"
    )
    lora_rank: int = Field(16, ge=1, description="rank of the adapters")
    lora_alpha: float = Field(32.0, gt=0, description="scale of the adapters, over their rank")

    history_events: int = Field(8, ge=1, description="newest events with text that are read")
    history_tokens: int = Field(96, ge=1, description="tokens of the history at most")
    item_tokens: int = Field(24, ge=1, description="tokens of an item's text at most")
    history_bias: float = Field(
        -3.0,
        description="added to the attention of a candidate to the history before the softmax, in "
        "training and in use; below 0 a candidate begins by reading mainly itself, as the encoder "
        "was pretrained, and the zero-shot ranking is better",
    )

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
