"""What a YAML may say of fine-tuning, in blocks that every fine-tuned model has under one name.

Each class is one block; a model's own settings hold those it has a use for. Nothing here imports
torch, so a configuration is checked in no time; the modules of the same names do the work.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from fusion.protocols import ComponentConfig

__all__ = [
    "Adversarial",
    "Augmentation",
    "HardNegatives",
    "Names",
    "Optimization",
    "Pretraining",
    "Propensity",
    "Seeds",
    "Tune",
    "as_tuple",
]


def as_tuple(value: Any) -> Any:
    """A list as a tuple, anything else as it is: for the validators of fields that are tuples."""
    return tuple(value) if isinstance(value, list) else value


# inside of a block that has a validator before its fields, pydantic's strict mode, by which a YAML
# is read, takes no list for a tuple
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]


class _ByKind(ComponentConfig):
    """A block that may be written as the name of its kind alone: ``tune: lora``."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        own: dict[str, Any] = handler(core_schema)
        found = handler.resolve_ref_schema(own)
        kind = found["properties"]["kind"]
        found["anyOf"] = [{"type": "object"}, {"enum": kind["enum"]}]
        found.pop("type", None)  # the other keywords judge objects only
        return own


class Tune(_ByKind):
    """Which weights are trained; ``tune: lora`` is short for ``tune: {kind: lora}``.

    The adapters are those of peft, with the constants of their papers as defaults: LoRA (Hu et al.
    2021, arXiv:2106.09685), DoRA (Liu et al. 2024, arXiv:2402.09353), (IA)3 (Liu et al. 2022,
    arXiv:2205.05638), prefix tuning (Li and Liang 2021, arXiv:2101.00190) and prompt tuning (Lester
    et al. 2021, arXiv:2104.08691). peft has no bottleneck adapters in the sense of Houlsby et al.
    (2019, arXiv:1902.00751), layers put between those of the model, and so there are none here.
    """

    kind: Literal["full", "none", "head", "last", "lora", "dora", "ia3", "prefix", "prompt"] = (
        Field(
            "full",
            description="full = every weight; none = nothing; head = what stands on top; "
            "last = the head and the last layers; lora, dora, ia3 = adapters inside the layers, "
            "merged after training; prefix, prompt = learned states or tokens before the text, "
            "which cannot be merged",
        )
    )
    layers: int = Field(2, ge=1, description="last: how many of the last layers are trained")
    rank: int = Field(16, ge=1, description="lora, dora: rank of an update")
    alpha: float = Field(32.0, gt=0, description="lora, dora: the update is scaled by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="lora, dora: dropout before the update")
    targets: str | Names = Field(
        "auto",
        description="lora, dora, ia3: layers that get adapters; auto = peft's choice for the "
        "architecture, else all-linear; all-linear; or names of layers, such as q_proj",
    )
    tokens: int = Field(16, ge=1, description="prefix, prompt: how many are put before the text")


class Optimization(ComponentConfig):
    """How AdamW goes about it, beside the rate, the warm-up and the decay that a model names."""

    schedule: Literal["linear", "cosine", "constant_with_warmup"] = Field(
        "linear", description="of the learning rate after the warm-up"
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="batches whose gradients are summed to one step: larger batches in "
        "the same memory (the negatives inside a batch stay those of the small one)",
    )
    checkpoint_activations: bool = Field(
        False, description="compute activations again in the backward pass: less memory, more time"
    )
    group_by_length: bool = Field(
        False, description="batches of texts of similar length, so that less padding is computed"
    )
    report_to: Literal["none", "tensorboard", "wandb"] = Field(
        "none",
        description="where the curves of training go (extra tracking); tensorboard: into ./runs",
    )


class Adversarial(_ByKind):
    """Training on input embeddings moved in the direction that hurts most.

    FGM, the fast gradient method (Miyato et al. 2017, arXiv:1605.07725), moves once; PGD, projected
    gradient descent (Madry et al. 2018, arXiv:1706.06083), in several steps. Each move costs a
    forward and a backward pass.
    """

    kind: Literal["none", "fgm", "pgd"] = Field("none", description="how the embeddings are moved")
    epsilon: float = Field(
        1.0, gt=0, description="largest norm of the move, over all the word embeddings together"
    )
    steps: int = Field(3, ge=1, description="pgd: how many steps (fgm takes one)")
    step_size: float = Field(0.3, gt=0, description="pgd: length of one of them")


class Augmentation(ComponentConfig):
    """Other histories and other texts that mean about the same.

    Crop, mask and reorder are those of CL4SRec (Xie et al. 2020, arXiv:2010.14395).
    """

    crop: float = Field(
        0.0, ge=0, le=1, description="probability that a history is cut to a part in one piece"
    )
    crop_share: float = Field(0.6, gt=0, le=1, description="crop: share of the events that stays")
    mask: float = Field(
        0.0, ge=0, le=1, description="probability that some events of a history are left out"
    )
    mask_share: float = Field(0.3, gt=0, lt=1, description="mask: share of the events left out")
    reorder: float = Field(
        0.0, ge=0, le=1, description="probability that a part of a history is shuffled"
    )
    reorder_share: float = Field(0.3, gt=0, le=1, description="reorder: share of the events")
    synonyms: str | None = Field(
        None, description="path of a JSON file {word: [words of the same meaning]}; null = none"
    )
    synonym_share: float = Field(
        0.1, ge=0, le=1, description="synonyms: share of the words in the file that are replaced"
    )
    rewrite: str | None = Field(
        None,
        description="module:function, list of texts -> list of texts, that says the same in other "
        "words (back translation and the like); null = none",
    )


class Pretraining(ComponentConfig):
    """Domain-adaptive pre-training on the catalogue's texts (Gururangan et al. 2020).

    arXiv:2004.10964. Masked words are foretold by an encoder (Devlin et al. 2019, arXiv:1810.04805:
    15 % of them), next words by a causal model.
    """

    steps: int = Field(0, ge=0, description="optimizer steps; 0 = no pre-training")
    learning_rate: float = Field(5e-5, gt=0, description="peak rate (AdamW)")
    batch_size: int = Field(32, ge=1, description="rows of text a step")
    tokens: int = Field(128, ge=8, description="tokens a row; texts are put end to end to fill it")
    mask: float = Field(0.15, gt=0, lt=1, description="encoders: share of the words that is masked")


class HardNegatives(ComponentConfig):
    """Negatives that other models of the engine take for positives.

    As in Xiong et al. 2020 (ANCE, arXiv:2007.00808), from models that stand still; with a guard
    against false negatives by the positive's own score, as in Moreira et al. 2024 (NV-Retriever,
    arXiv:2407.15831).
    """

    share: float = Field(0.0, ge=0, le=1, description="of the negatives that are hard; 0 = none")
    models: Names = Field(
        (), description="retrievers of this configuration that they are mined from"
    )
    depth: int = Field(100, ge=1, description="items of each model's list that are looked at")
    skip: int = Field(
        10, ge=0, description="leave out so many of the first, the likeliest to be met later"
    )
    margin: float | None = Field(
        None,
        gt=0,
        le=1,
        description="leave out items whose score is above this share of the way from the lowest "
        "of the list to the positive's score; 1 = those above the positive; null = no "
        "such guard: where the models rank few positives first, it leaves hardly any negatives",
    )

    @model_validator(mode="after")
    def _somewhere_to_look(self) -> HardNegatives:
        if self.share > 0 and not self.models:
            raise ValueError("share above 0 needs models to mine from")
        if self.skip >= self.depth:
            raise ValueError("skip must be below depth, else nothing is left")
        return self


class Propensity(ComponentConfig):
    """Weights of examples against exposure bias: what everybody is shown counts less.

    Inverse propensity scoring (Schnabel et al. 2016, arXiv:1602.05352) with an item's chance of
    being seen taken as its share of the events, to a power.
    """

    power: float = Field(0.0, ge=0, le=1, description="of the popularity; 0 = all count the same")
    clip: float = Field(
        10.0, ge=1, description="largest weight, as a multiple of the smallest: bounds the variance"
    )


class Seeds(ComponentConfig):
    """Fine-tuning several times and averaging the weights (Wortsman et al. 2022, arXiv:2203.05482).

    The model costs as much to ask as one. (For an average of scores, which costs as many times as
    much, see the model `seed_average`.)
    """

    count: int = Field(1, ge=1, description="how many times it is fine-tuned")
    soup: Literal["uniform", "greedy"] = Field(
        "uniform",
        description="uniform = the mean of all; greedy = from the best on, each is added that does "
        "not harm the validation",
    )
