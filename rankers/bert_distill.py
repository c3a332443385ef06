"""A BERT ranker with few layers that learns the order of a slower engine's fused scores.

For each moment of a user the teacher has scored a list of candidates; the student is trained so
that the softmax of its scores over the list comes near the softmax of the teacher's:

- ListNet's loss (Cao, Qin, Liu, Tsai and Li, "Learning to Rank: From Pairwise Approach to Listwise
  Approach", ICML 2007, section 4): the cross-entropy of two top-one distributions;
- with a temperature ``T`` in both, and the loss times ``T^2`` so that its gradients keep their size
  (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, 2015,
  section 2);
- over standardised scores on both sides, since fused scores have no unit and the student needs
  only their order and relative distances (Sun, Ren, Li, Wang and Cao, "Logit Standardization in
  Knowledge Distillation", CVPR 2024, arXiv:2403.01993).

Of each list the teacher's first few and a random rest are shown, new ones each time, so that a step
costs little and the top is always there.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from fusion.data.dataset import Dataset
from fusion.protocols import ComponentConfig, FitContext, Model
from rankers.bert import Bert
from rankers.bert_config import Config
from rankers.bert_layers import keep_layers

if TYPE_CHECKING:
    from fusion.distillation.lessons import Lessons

__all__ = ["Student", "StudentConfig", "parameters"]

log = logging.getLogger(__name__)

#: what decides which text is read and how: the student reads as the teacher's BERT did
_SHARED = (
    "base_model",
    "history_events",
    "history_tokens",
    "item_tokens",
    "history_bias",
    "dtype",
    "max_tokens",
    "batch_tokens",
)


class StudentConfig(Config):
    """Settings of `Student`: those of ``bert``, and how it learns from a teacher."""

    mode: Literal["shared", "late"] = Field(
        "late",
        description="late: items are encoded ahead, a list costs one pass over the history. "
        "shared: candidates look at the history. A cross-encoder would be too dear to stand for "
        "an engine",
    )
    layers: int | None = Field(
        3, ge=1, description="evenly spaced layers of the encoder it begins from; null = all"
    )
    distilled_from: str | None = Field(
        None, description="hash of the configuration of the engine that taught it"
    )
    temperature: float = Field(
        0.5, gt=0, description="of both softmaxes over standardised scores; below 1 the top counts"
    )
    list_size: int = Field(16, ge=2, description="candidates of a list that one step looks at")
    list_top: int = Field(
        6, ge=1, description="of those, how many are the teacher's first; the rest is random"
    )
    max_steps: int = Field(200, ge=0, description="optimizer steps at most; 0 = untrained")
    batch_size: int = Field(8, ge=1, description="lists a step")
    learning_rate: float = Field(2e-4, gt=0, description="peak rate of the encoder (AdamW)")
    evaluate_every: int = Field(25, ge=1, description="steps between validations and checkpoints")
    patience: int = Field(4, ge=1, description="validations without a better one before it stops")


class Student(Bert):
    """A small `rankers.bert.Bert` that a slower engine teaches; see `fusion.distillation.distill`.

    A score is a logit without a unit: only the order and the relative distances inside a list mean
    something. `fit` learns from events, and says so where a teacher is named.

    Attributes:
        report: ``steps`` taken, ``untrained`` and best ``validation`` value (mean Kendall's tau at
            the top with the teacher on held-out moments, -1..1), ``parameters`` of its own and
            ``teacher_parameters`` of the teacher's rankers; and what who distils adds.
    """

    Config: ClassVar[type[ComponentConfig]] = StudentConfig

    def fit(self, data: Dataset, context: FitContext) -> None:
        """As ``bert``: from events, without a teacher; see there."""
        if self.config.distilled_from is not None:
            log.warning("%r learns from events and not from its teacher: distil it again", self)
        super().fit(data, context)

    @classmethod
    def student_of(cls, models: Mapping[str, Model]) -> dict[str, Any]:
        """What the first BERT among ``models`` reads, and how; nothing where there is none."""
        teacher = _bert_of(models)
        return {} if teacher is None else {key: getattr(teacher.config, key) for key in _SHARED}

    def begin(self, data: Dataset, models: Mapping[str, Model]) -> None:
        """Some layers of the first fitted BERT among ``models``, with its head; or of base_model.

        The base model's are taken, too, where the settings name another one than that BERT's.

        Raises:
            DataError: no item with text.
            ConfigError: ``layers`` is more than there are, or the encoder is built otherwise.
        """
        self._check(data)
        self._asked = None
        teacher = _bert_of(models)
        if teacher is None or teacher.config.base_model != self.config.base_model:
            self._new_encoder(FitContext(), data.catalog.texts)
        else:
            self._tokenizer = teacher._tokenizer
            self._net = _cut(teacher._net, self.config)
        self._read(data)
        self.report = {
            "parameters": float(parameters(self)),
            "teacher_parameters": float(sum(map(parameters, models.values()))),
        }

    def distill(self, lessons: Lessons, context: FitContext) -> None:
        """Train on the lessons that are not held; keep the weights that are best on the others."""
        if self._net is None:
            raise self.not_fitted()
        from rankers.bert_distill_training import teach

        self._asked = self._vectors = None  # what was made of the untrained network
        self.report |= teach(self._net, self._texts, lessons, self.config, context)


def _cut(net: Any, config: StudentConfig) -> Any:
    """A network of the student's kind with some layers of ``net``, and its head where that fits."""
    from rankers.bert_asking import make_net

    encoder = copy.deepcopy(net.encoder.base_model).cpu()
    keep_layers(encoder, config.layers, config.base_model)
    made = make_net(encoder, config)
    ours = made.state_dict()
    head = {
        name: value
        for name, value in net.state_dict().items()
        if not name.startswith("encoder.") and name in ours and ours[name].shape == value.shape
    }
    if type(made) is type(net):
        made.load_state_dict(head, strict=False)
    return made.eval().requires_grad_(False)


def parameters(model: Model) -> int:
    """Numbers in the network of ``model``, embeddings included; 0 where it holds none in torch."""
    from torch import nn

    parts = [*vars(model).values()]
    parts += [getattr(part, "model", None) for part in parts]  # `gpt` has it one step further in
    networks = [part for part in parts if isinstance(part, nn.Module)]
    # a copy for scoring may stand beside the network: one of them is counted
    return max((sum(p.numel() for p in network.parameters()) for network in networks), default=0)


def _bert_of(models: Mapping[str, Model]) -> Bert | None:
    """The first fitted one."""
    found = (m for m in models.values() if isinstance(m, Bert) and m._net is not None)
    return next(found, None)
