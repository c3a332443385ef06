"""The network of the BERT ranker: an encoder over packed sequences, and one linear head.

The history's mean state ``h`` and a candidate's mean state ``c`` are put on the sphere of radius
``sqrt(D)``, so that the mean of ``c * h`` is their cosine. The head is linear in ``[c, h, c * h]``
and begins as that cosine alone: sentence encoders rank by it, so training goes on from something
that works.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fusion.errors import ConfigError, explain
from fusion.work import attention_flops, linear_flops
from rankers.bert_blocks import ATTENTION, Blocks, ramps
from rankers.packing import HISTORY, PADDING, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Batch",
    "Flat",
    "Net",
    "calibrated_bias",
    "check_encoder",
    "first_slope",
    "label_loss",
    "make_batch",
    "matrix_weights",
    "on_sphere",
]

#: a first slope of the head in the cosine; sentence encoders are trained with a temperature of 0.05
_CTR_SLOPE = 20.0
_RATING_SLOPE = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """``B`` packed sequences of at most ``T`` tokens, at most ``C`` candidates each.

    Attributes:
        tokens: (B, T) int64.
        positions: (B, T) int64: from 0 in the history, and from 0 again in every candidate.
        segments: (B, T) int64, as in `rankers.packing.Packed`.
        size: ``C``.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    size: int


def make_batch(
    histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[Sequence[int]]], pad: int
) -> Batch:
    """Pack ``B`` histories with their candidates (token ids).

    A candidate's positions begin at 0 like those of a text of its own, which the encoder was
    trained on; ranked by the cosine before any training this is much the better choice.
    """
    packed = pack(histories, candidates, pad)
    lengths = np.array([len(history) for history in histories], np.int64)
    positions = packed.positions - np.where(packed.segments > HISTORY, lengths[:, None], 0)
    return Batch(
        torch.from_numpy(packed.tokens),
        torch.from_numpy(positions),
        torch.from_numpy(packed.segments),
        max(map(len, candidates), default=0),
    )


@dataclass(frozen=True, slots=True)
class Flat:
    """The ``T`` tokens of one pass, without padding.

    Attributes:
        tokens: (T,) int64.
        positions: (T,) int64, from 0 in every history and every candidate.
        types: (T,) int64: token types.
        blocks: who may look at whom.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    types: torch.Tensor
    blocks: Blocks

    def to(self, device: torch.device) -> Flat:
        """The same on ``device``."""
        tokens, positions, types = (
            x.to(device, non_blocking=True) for x in (self.tokens, self.positions, self.types)
        )
        return Flat(tokens, positions, types, self.blocks.to(device))


class Net(nn.Module):  # type: ignore[misc]
    """Encoder and head.

    Args:
        encoder: an encoder that `check_encoder` accepts.
        rating: whether the head is the rating head (squared error) or the ctr head (cross-entropy).
        history_bias: added to a candidate's attention to the history; see `rankers.bert.Config`.
        dropout: of the features before the head, in training.
    """

    item_type = 1  # token type of the candidates; the history has 0

    def __init__(
        self, encoder: Any, *, rating: bool, history_bias: float | None, dropout: float
    ) -> None:
        super().__init__()
        self.width = width = encoder.config.hidden_size
        self.encoder = encoder
        self.rating = rating
        self.history_bias = history_bias
        self.dropout = nn.Dropout(dropout)
        self.head = nn.utils.skip_init(nn.Linear, 3 * width, 1)  # filled below, nothing is drawn
        # position ids of RoBERTa and its kin begin after the padding id
        padding = getattr(getattr(encoder, "embeddings", None), "padding_idx", None)
        self.first_position = 0 if padding is None else int(padding) + 1
        self.types = getattr(encoder.config, "type_vocab_size", 0) or 0
        encoder.set_attn_implementation(ATTENTION)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.weight[0, 2 * width :] = first_slope(rating=rating) / width
            self.head.bias.zero_()

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        segments: torch.Tensor,
        labels: torch.Tensor | None = None,
        size: int | None = None,
    ) -> dict[str, torch.Tensor]:
        """``logits`` (B, C) float32, meaningless where a row has fewer candidates; maybe ``loss``.

        Args:
            tokens: (B, T) int64.
            positions: (B, T) int64.
            segments: (B, T) int64.
            labels: (B, C) float32: 1 met next, 0 sampled (ctr), or the standardised rating; NaN =
                no label. With it the result holds ``loss``, the mean over the labels.
            size: ``C``, where there are no labels.
        """
        width = labels.shape[1] if labels is not None else size
        logits = self.logits(self.flatten(tokens, positions, segments, int(width or 0)))
        if labels is None:
            return {"logits": logits}
        return {"loss": label_loss(logits, labels, rating=self.rating), "logits": logits}

    def logits(self, flat: Flat, states: torch.Tensor | None = None) -> torch.Tensor:
        """(U, C) float32 logits; meaningless where a history has fewer candidates.

        Args:
            states: (T, D) what `encode` gives, where something else computed it.
        """
        states = (self.encode(flat) if states is None else states).float()
        history, items = flat.blocks.means(states)  # (U, D), (U, C, D)
        h, c = on_sphere(history)[:, None].expand_as(items), on_sphere(items)
        features = self.dropout(torch.cat([c, h, c * h], dim=-1))  # (U, C, 3D)
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features)[..., 0]

    def encode(self, flat: Flat) -> torch.Tensor:
        """(T, D) last states of the encoder, in its own precision or autocast's."""
        arguments: dict[str, Any] = {"position_ids": flat.positions[None] + self.first_position}
        if self.types > 1:
            arguments["token_type_ids"] = flat.types[None]
        output = self.encoder(input_ids=flat.tokens[None], blocks=flat.blocks, **arguments)
        return output.last_hidden_state[0]

    def layout(self, tokens: npt.NDArray[np.integer[Any]], lengths: npt.NDArray[np.int64]) -> Flat:
        """What `encode` reads, from ``tokens`` (T,) and ``lengths`` (U, 1 + C), see `Blocks.of`."""
        types = np.zeros(lengths.shape, np.int64)
        types[:, 1:] = self.item_type
        return Flat(
            torch.from_numpy(tokens.astype(np.int64)),
            torch.from_numpy(ramps(lengths)),
            torch.from_numpy(np.repeat(types.ravel(), lengths.ravel())),
            Blocks.of(lengths, self.history_bias),
        )

    def flatten(
        self, tokens: torch.Tensor, positions: torch.Tensor, segments: torch.Tensor, size: int
    ) -> Flat:
        """What `encode` reads, from a `Batch`; tensors stay on their device."""
        where = segments.cpu().numpy()
        real = where != PADDING
        slot = where + np.arange(len(where))[:, None] * (size + 1)
        counts = np.bincount(slot[real], minlength=len(where) * (size + 1))
        device, chosen = tokens.device, segments != PADDING
        return Flat(
            tokens[chosen],
            positions[chosen],
            (segments[chosen] > HISTORY).long() * self.item_type,
            Blocks.of(counts.reshape(len(where), size + 1), self.history_bias).to(device),
        )

    def cost(self, flat: Flat) -> dict[str, float]:
        """What `encode` computes, in the names of `fusion.work`."""
        layers, width = self.shape
        n = len(flat.tokens)
        flops = linear_flops(n, self.weights) + attention_flops(flat.blocks.pairs, width, layers)
        return {"tokens": n, "flops": flops, "passes": 1}

    @property
    def weights(self) -> int:
        """Numbers in the matrices that every token passes: without embeddings and pooler."""
        return matrix_weights(self.encoder)

    @property
    def shape(self) -> tuple[int, int]:
        """How many layers the encoder has, and how wide they are."""
        config = self.encoder.config
        return config.num_hidden_layers, config.hidden_size

    def to_precision(self, dtype: torch.dtype) -> None:
        """Let the encoder compute in ``dtype``; what follows it stays in float32."""
        self.encoder.to(dtype)

    def own_parts(self) -> list[nn.Module]:
        """What is trained whatever is tuned: all that did not come with the encoder."""
        return [part for name, part in self.named_children() if name != "encoder"]

    def own_state(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights beside the encoder's, by their names."""
        state = self.state_dict()
        return {k: v.cpu().numpy() for k, v in state.items() if not k.startswith("encoder.")}

    def calibrate(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> None:
        """Set the bias of the untrained head so that the mean prediction is the mean label."""
        with torch.no_grad():
            self.head.bias += calibrated_bias(logits, labels, rating=self.rating)


def calibrated_bias(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32], *, rating: bool
) -> float:
    """What to add to ``logits`` so that their mean says the mean of the ``labels`` (NaN = none)."""
    given = ~np.isnan(labels)
    if not given.any():
        return 0.0
    goal = float(labels[given].mean())
    if not rating:
        least = 0.5 / int(given.sum())  # finite where all labels are alike
        share = min(max(goal, least), 1 - least)
        goal = math.log(share / (1 - share))
    return goal - float(logits[given].mean())


def first_slope(*, rating: bool) -> float:
    """What an untrained head multiplies a cosine by."""
    return _RATING_SLOPE if rating else _CTR_SLOPE


def label_loss(logits: torch.Tensor, labels: torch.Tensor, *, rating: bool) -> torch.Tensor:
    """Mean squared error or binary cross-entropy of ``logits`` over ``labels`` that are not NaN."""
    given = ~torch.isnan(labels)
    x, y = logits[given], labels[given]
    if rating:
        return nn.functional.mse_loss(x, y)
    return nn.functional.binary_cross_entropy_with_logits(x, y)


def on_sphere(x: torch.Tensor) -> torch.Tensor:
    """``x`` (..., D) with the length ``sqrt(D)``."""
    return nn.functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5


def matrix_weights(encoder: nn.Module) -> int:
    """Numbers in the linear layers of ``encoder``, without its pooler."""
    return sum(
        part.weight.numel()
        for name, part in encoder.named_modules()
        if isinstance(part, nn.Linear) and "pooler" not in name
    )


def check_encoder(encoder: Any, name: str, *, longest: int) -> None:
    """Refuse an encoder that cannot read packed sequences of texts of ``longest`` tokens.

    Raises:
        ConfigError: it takes no position ids, has too few positions, or lets one candidate look at
            another in spite of the mask (tried on a sequence of three tokens).
    """
    who = f"bert base_model {name!r}"
    wanted = (
        "an encoder that takes position_ids and follows transformers' attention interface "
        "(BERT, MiniLM, RoBERTa)"
    )
    kind, advice = type(encoder).__name__, "choose another base_model"
    if "position_ids" not in inspect.signature(encoder.forward).parameters:
        raise ConfigError(explain(who, wanted, kind, advice))
    net = Net(encoder, rating=False, history_bias=0.0, dropout=0.0).eval()
    positions = getattr(encoder.config, "max_position_embeddings", longest) - net.first_position
    if longest > positions:
        raise ConfigError(
            explain(
                who,
                f"history_tokens and item_tokens of at most {positions - 2}",
                str(longest - 2),
                "lower them",
            )
        )
    tokens = np.array([1, 2, 3])
    alone, beside = (
        net.layout(tokens[:2], np.array([[1, 1]])),
        net.layout(tokens, np.array([[1, 1, 1]])),
    )
    try:
        with torch.inference_mode():
            a, b = (net.encode(flat)[:2] for flat in (alone, beside))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(explain(who, wanted, f"{kind}: {error}", advice)) from error
    if not torch.allclose(a, b, atol=1e-3):
        got = f"{kind}, whose states of one candidate change with the next candidate"
        raise ConfigError(explain(who, wanted, got, advice))
