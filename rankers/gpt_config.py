"""What a YAML may say of the GPT ranker."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fusion.protocols import ComponentConfig, RankerConfig
from rankers.gpt_prompt import PromptSettings

__all__ = ["GptConfig", "LoraSettings", "TrainingSettings"]


class LoraSettings(ComponentConfig):
    """Low-rank adapters; Hu et al. 2021, https://arxiv.org/abs/2106.09685."""

    r: int = Field(8, ge=1, description="rank of an update")
    alpha: float = Field(16.0, gt=0, description="the update is scaled by alpha / r")
    dropout: float = Field(0.05, ge=0, lt=1, description="before the update")
    target_modules: str | tuple[str, ...] = Field(
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


class GptConfig(RankerConfig):
    """Configuration of `Gpt`."""

    base_model: str = Field(
        "SmolLM2-135M-Instruct",
        description="a causal LM: an installed package, a folder, a hub name",
    )
    score: Literal["likelihood", "yes_no"] = Field("likelihood", description="how logits are read")
    unconditional: float = Field(
        1.0, ge=0, le=1, description="likelihood: weight of what the text is worth without history"
    )
    item_text: Literal["title", "text"] = Field("title", description="what is read of an item")
    prompt: PromptSettings = Field(PromptSettings(), description="how items become text")
    tune: Literal["lora", "full", "none"] = Field(
        "lora", description="what is trained: adapters, every weight, or nothing"
    )
    lora: LoraSettings = Field(LoraSettings(), description="of the adapters")
    training: TrainingSettings = Field(TrainingSettings(), description="budget and optimizer")
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
