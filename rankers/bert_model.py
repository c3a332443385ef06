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
from rankers.packing import HISTORY, PADDING, attention_mask, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Batch", "Net", "check_encoder", "make_batch"]

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


class Net(nn.Module):  # type: ignore[misc]
    """Encoder and head.

    Args:
        encoder: an encoder that `check_encoder` accepts.
        rating: whether the head is the rating head (squared error) or the ctr head (cross-entropy).
        history_bias: added to a candidate's attention to the history; see `rankers.bert.Config`.
        dropout: of the features before the head, in training.
    """

    def __init__(self, encoder: Any, *, rating: bool, history_bias: float, dropout: float) -> None:
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.rating = rating
        self.history_bias = history_bias
        self.dropout = nn.Dropout(dropout)
        self.head = nn.utils.skip_init(nn.Linear, 3 * width, 1)  # filled below, nothing is drawn
        # position ids of RoBERTa and its kin begin after the padding id
        padding = getattr(getattr(encoder, "embeddings", None), "padding_idx", None)
        self.first_position = 0 if padding is None else int(padding) + 1
        self.types = getattr(encoder.config, "type_vocab_size", 0) or 0
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.weight[0, 2 * width :] = (_RATING_SLOPE if rating else _CTR_SLOPE) / width
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
        states = self.encode(tokens, positions, segments).float()  # (B, T, D)
        history, items = _means(states, segments, int(width or 0))  # (B, D), (B, C, D)
        h, c = _on_sphere(history)[:, None].expand_as(items), _on_sphere(items)
        features = self.dropout(torch.cat([c, h, c * h], dim=-1))  # (B, C, 3D)
        with torch.autocast(features.device.type, enabled=False):
            logits = self.head(features)[..., 0]  # (B, C)
        if labels is None:
            return {"logits": logits}
        given = ~torch.isnan(labels)
        x, y = logits[given], labels[given]
        loss = (
            nn.functional.mse_loss(x, y)
            if self.rating
            else nn.functional.binary_cross_entropy_with_logits(x, y)
        )
        return {"loss": loss, "logits": logits}

    def encode(
        self, tokens: torch.Tensor, positions: torch.Tensor, segments: torch.Tensor
    ) -> torch.Tensor:
        """(B, T, D) last states of the encoder, in its own precision or autocast's."""
        device = tokens.device.type
        dtype = (
            torch.get_autocast_dtype(device)
            if torch.is_autocast_enabled(device)
            else next(self.encoder.parameters()).dtype
        )
        mask = attention_mask(segments, causal=False, dtype=dtype)  # (B, 1, T, T)
        across = (segments[:, :, None] > HISTORY) & (segments[:, None, :] == HISTORY)
        mask = mask.masked_fill_(across[:, None], self.history_bias)
        arguments = {"position_ids": positions + self.first_position}
        if self.types > 1:
            arguments["token_type_ids"] = (segments > HISTORY).long()
        output = self.encoder(input_ids=tokens, attention_mask=mask, **arguments)
        return output.last_hidden_state

    def calibrate(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> None:
        """Set the bias of the untrained head so that the mean prediction is the mean label."""
        given = ~np.isnan(labels)
        if not given.any():
            return
        goal = float(labels[given].mean())
        if not self.rating:
            least = 0.5 / int(given.sum())  # finite where all labels are alike
            share = min(max(goal, least), 1 - least)
            goal = math.log(share / (1 - share))
        with torch.no_grad():
            self.head.bias += goal - float(logits[given].mean())


def _means(
    states: torch.Tensor, segments: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean state of the history (B, D) and of each candidate (B, C, D); 0 where it has no token."""
    n, _, width = states.shape
    slots = size + 2  # padding, history, candidates
    row = torch.arange(n, device=segments.device)[:, None] * slots
    slot = (row + segments - PADDING).reshape(-1)  # (B * T,)
    total = states.new_zeros(n * slots, width).index_add(0, slot, states.reshape(-1, width))
    count = states.new_zeros(n * slots).index_add(
        0, slot, torch.ones_like(states[..., 0]).reshape(-1)
    )
    mean = (total / count.clamp(min=1.0)[:, None]).view(n, slots, width)
    return mean[:, 1], mean[:, 2:]


def _on_sphere(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(x, dim=-1) * x.shape[-1] ** 0.5


def check_encoder(encoder: Any, name: str, *, longest: int) -> None:
    """Refuse an encoder that cannot read packed sequences of texts of ``longest`` tokens.

    Raises:
        ConfigError: it takes no position ids, has too few positions, or lets one candidate look at
            another in spite of the mask (tried on a sequence of three tokens).
    """
    who = f"bert base_model {name!r}"
    wanted = "an encoder that takes position_ids and a 4D attention mask (BERT, MiniLM, RoBERTa)"
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
    alone, beside = make_batch([[1]], [[[2]]], 0), make_batch([[1]], [[[2], [3]]], 0)
    try:
        with torch.inference_mode():
            a, b = (net.encode(x.tokens, x.positions, x.segments)[0, :2] for x in (alone, beside))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(explain(who, wanted, f"{kind}: {error}", advice)) from error
    if not torch.allclose(a, b, atol=1e-3):
        got = f"{kind}, whose states of one candidate change with the next candidate"
        raise ConfigError(explain(who, wanted, got, advice))
