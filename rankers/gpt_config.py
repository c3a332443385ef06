"""What a YAML may say of the GPT ranker.

Two blocks are older than the ones that all fine-tuned models share, and stay valid: what `tune`
does not say of its adapters is taken from `lora`, and what `optimization` does not say of its
schedule from `training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from finetuning.settings import (
    Adversarial,
    Augmentation,
    HardNegatives,
    Names,
    Optimization,
    Pretraining,
    Propensity,
    Seeds,
    Tune,
)
from fusion.protocols import ComponentConfig, RankerConfig
from rankers.gpt_prompt import PromptSettings

__all__ = ["EmbeddingSettings", "GptConfig", "ListSettings", "LoraSettings", "TrainingSettings"]

#: what each way of scoring may be fine-tuned for; the first is ``auto``
_OBJECTIVES = {
    "likelihood": ("likelihood", "multi_task"),
    "yes_no": ("pointwise", "bpr", "ranknet", "softmax", "lambda", "rating", "multi_task"),
    "listwise": ("pointwise", "bpr", "ranknet", "softmax", "lambda"),
    "embedding": ("contrastive",),
}
_NAMES = {"r": "rank", "alpha": "alpha", "dropout": "dropout", "target_modules": "targets"}


class LoraSettings(ComponentConfig):
    """Low-rank adapters; Hu et al. 2021, https://arxiv.org/abs/2106.09685."""

    r: int = Field(8, ge=1, description="rank of an update")
    alpha: float = Field(16.0, gt=0, description="the update is scaled by alpha / r")
    dropout: float = Field(0.05, ge=0, lt=1, description="before the update")
    target_modules: str | Names = Field(
        "auto",
        description="auto = query and value, as the paper has it (peft's table for the "
        "architecture, else all-linear), all-linear, or names of layers, such as q_proj",
    )


class TrainingSettings(ComponentConfig):
    """AdamW with warm-up; stopped early on the inner validation set."""

    max_tokens: int = Field(60_000, ge=1, description="tokens trained on by fit, repeats included")
    refit_tokens: int = Field(20_000, ge=0, description="tokens trained on by refit")
    epochs: int = Field(3, ge=1, description="at most so many passes over the sampled rows")
    max_steps: int | None = Field(None, ge=1, description="at most so many steps")
    batch_size: int = Field(4, ge=1, description="rows a step")
    learning_rate: float = Field(1e-3, gt=0, description="peak rate (AdamW)")
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "linear", description="of the rate after the warm-up"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    clip: float = Field(1.0, gt=0, description="largest norm of a gradient")
    negatives: int = Field(4, ge=1, description="yes_no: sampled items beside the one met")
    eval_steps: int = Field(25, ge=1, description="steps between two looks at the validation set")
    patience: int = Field(2, ge=1, description="looks without improvement before stopping")
    validation_users: int = Field(
        32, ge=0, description="users whose newest event is held out; 0 = never stop early"
    )
    validation_candidates: int = Field(20, ge=2, description="items that one is ranked among")
    may_stay: bool = Field(
        False, description="keep the untrained weights where no look finds better ones"
    )


class ListSettings(ComponentConfig):
    """`listwise`: each candidate in a list of others of the catalogue; see `rankers.gpt_lists`."""

    list_size: int = Field(
        20, ge=2, le=52, description="items of a list, the candidate among them; a letter is each"
    )
    permutations: int = Field(
        2, ge=1, description="shuffled lists whose scores are averaged, each a pass of its own"
    )


class EmbeddingSettings(ComponentConfig):
    """`embedding`: texts as vectors, see `rankers.gpt_embedding`."""

    pooling: Literal["mean", "last"] = Field(
        "mean", description="of the tokens' last hidden states, or that of the last token"
    )
    center: bool = Field(
        True, description="take the mean of the items' vectors from every vector before the cosine"
    )
    scale: float = Field(20.0, gt=0, description="of the cosines in the contrastive loss")


class GptConfig(RankerConfig):
    """Configuration of `Gpt`."""

    base_model: str = Field(
        "SmolLM2-135M-Instruct",
        description="a causal LM: an installed package, a folder, a hub name",
    )
    score: Literal["likelihood", "yes_no", "listwise", "embedding"] = Field(
        "likelihood",
        description="what is read: likelihood of the text, yes against no after a question, the "
        "label among those of a list, or the cosine of the history's and the item's vectors",
    )
    unconditional: float = Field(
        1.0, ge=0, le=1, description="likelihood: weight of what the text is worth without history"
    )
    listwise: ListSettings = Field(ListSettings(), description="of the mode of that name")
    embedding: EmbeddingSettings = Field(
        EmbeddingSettings(), description="of the mode of that name"
    )
    item_text: Literal["title", "text"] = Field("title", description="what is read of an item")
    prompt: PromptSettings = Field(PromptSettings(), description="how items become text")
    objective: Literal[
        "auto", "likelihood", "pointwise", "bpr", "ranknet", "softmax", "lambda", "rating",
        "contrastive", "multi_task",
    ] = Field(
        "auto",
        description="what fine-tuning minimises. likelihood: of the texts. pointwise: "
        "cross-entropy of yes and no, met or sampled. bpr, ranknet, softmax, lambda: the item met "
        "above the sampled ones. rating: squared error of the chance of yes against the rating, "
        "lowest 0 and highest 1. contrastive: the item met among those of the batch. multi_task: "
        "likelihood, and pointwise by `task_weight`. auto = the first of these that the way of "
        "scoring takes",
    )  # fmt: skip
    task_weight: float = Field(
        0.5, gt=0, description="multi_task: weight of the question's loss; the likelihood's is 1"
    )
    tune: Tune = Field(
        Tune(kind="lora", rank=8, alpha=16.0),
        description="what is trained, or its kind alone; what it does not say of rank, alpha, "
        "dropout and targets is taken from `lora`. last leaves the head alone, which is the "
        "embedding, too, in most models. prompt: vectors of tokens before the header. prefix "
        "cannot be packed and is refused",
    )
    lora: LoraSettings = Field(LoraSettings(), description="of the adapters")
    training: TrainingSettings = Field(TrainingSettings(), description="budget and optimizer")
    optimization: Optimization = Field(
        Optimization(), description="schedule, accumulation, memory and tracking"
    )
    adversarial: Adversarial = Field(
        Adversarial(), description="training on word embeddings that are moved to do harm"
    )
    r_drop: float = Field(
        0.0,
        ge=0,
        description="weight of the divergence between two passes with different dropout (R-Drop, "
        "Liang et al. 2021, arXiv:2106.14448); needs adapters with dropout",
    )
    hard_negatives: HardNegatives = Field(
        HardNegatives(),
        description="yes_no, listwise: retrievers' candidates in the place of sampled items",
    )
    propensity: Propensity = Field(
        Propensity(), description="inverse-propensity weights of the items that are learnt"
    )
    augmentation: Augmentation = Field(
        Augmentation(), description="other histories and other texts, in training only"
    )
    pretraining: Pretraining = Field(
        Pretraining(),
        description="next words of the catalogue's texts, before fit; all weights are then saved",
    )
    seeds: Seeds = Field(
        Seeds(), description="train several times from one start and average what is trained"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of weights while scoring; auto = bfloat16 where the hardware has it"
    )
    weights: Literal["none", "int8", "int4"] = Field(
        "none",
        description="matrices of the scoring copy in fewer bits, which saves memory, not time "
        "(extra quantized); int4 on CUDA only",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where it runs; auto = the GPU if there is one"
    )
    longest_row: int = Field(
        2048, ge=16, description="tokens of one query in a pass before its candidates are cut"
    )
    batch_tokens: int = Field(
        2048, ge=16, description="tokens of one pass, of as many queries as fit"
    )
    cache_mb: int = Field(
        256,
        ge=0,
        description="MiB of histories' keys and values that are kept for their users' next "
        "requests, the least recently used going first; 0 = keep none",
    )
    save_base: bool = Field(
        False, description="save the base model too, not only its name and SHA-256"
    )

    @property
    def goal(self) -> str:
        """The objective, `auto` resolved."""
        return _OBJECTIVES[self.score][0] if self.objective == "auto" else self.objective

    @model_validator(mode="before")
    @classmethod
    def _older_blocks(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        value = dict(value)
        tune = value.get("tune", {"kind": "lora"})
        tune = {"kind": tune} if isinstance(tune, str) else tune
        lora = value.get("lora", {})
        if isinstance(tune, Mapping) and isinstance(lora, (Mapping, LoraSettings)):
            known = lora if isinstance(lora, Mapping) else lora.model_dump()
            defaults = {name: LoraSettings.model_fields[name].default for name in _NAMES}
            older = {_NAMES[name]: known.get(name, defaults[name]) for name in _NAMES}
            value["tune"] = {"kind": "lora", **older, **tune}
        training, own = value.get("training", {}), value.get("optimization", {})
        if isinstance(training, Mapping) and "schedule" in training and isinstance(own, Mapping):
            value["optimization"] = {"schedule": training["schedule"], **own}
        return value

    @model_validator(mode="after")
    def _fitting(self) -> GptConfig:
        able = _OBJECTIVES[self.score]
        if self.objective != "auto" and self.objective not in able:
            raise ValueError(
                f"score: {self.score} is fine-tuned for {', '.join(able)}, not {self.objective}"
            )
        if self.tune.kind == "prefix":
            raise ValueError(
                "tune: prefix puts keys and values before every layer, which packed passes, whose "
                "attention is their own, cannot carry; use prompt, which puts tokens before the "
                "header"
            )
        dropout = self.tune.kind in ("lora", "dora") and self.tune.dropout > 0
        if self.r_drop > 0 and not (dropout and self.goal not in ("contrastive", "rating")):
            raise ValueError("r_drop needs tune: lora or dora with dropout, and no regression")
        if self.hard_negatives.share > 0 and self.score not in ("yes_no", "listwise"):
            raise ValueError("hard_negatives belong to score: yes_no or listwise")
        return self
