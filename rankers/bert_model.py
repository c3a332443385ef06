"""The network of the BERT ranker: an encoder over packed sequences, and one linear head.

The history's mean state ``h`` and a candidate's mean state ``c`` are put on the sphere of radius
``sqrt(D)``, so that the mean of ``c * h`` is their cosine. The head is linear in ``[c, h, c * h]``
and begins as that cosine alone: sentence encoders rank by it, so training goes on from something
that works.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fusion.work import attention_flops, linear_flops
from rankers.bert_blocks import ATTENTION, Blocks, ramps
from rankers.bert_config_training import Training
from rankers.bert_heads import calibrated_bias, first_slope, on_sphere
from rankers.bert_objective import Objective
from rankers.bert_packed import Batch, Flat, make_batch
from rankers.packing import HISTORY, PADDING

__all__ = ["Batch", "Flat", "Net", "make_batch", "matrix_weights", "objective_of"]


def objective_of(rating: bool, config: Training | None, features: int) -> Objective:
    """What ``config`` says; without one, the plain loss of the ctr or the rating head."""
    config = Training(head="rating" if rating else "ctr") if config is None else config
    return Objective(config, features=features)


class Net(nn.Module):  # type: ignore[misc]
    """Encoder and head.

    Args:
        encoder: an encoder that `rankers.bert_check.check_encoder` accepts.
        rating: whether the score is a rating, standardised; else it is a logit.
        history_bias: added to a candidate's attention to the history; see `rankers.bert.Config`.
        dropout: of the features before the head, in training.
        config: what it is trained on; ``None`` = squared error or cross-entropy.
    """

    item_type = 1  # token type of the candidates; the history has 0

    def __init__(
        self,
        encoder: Any,
        *,
        rating: bool,
        history_bias: float | None,
        dropout: float,
        config: Training | None = None,
    ) -> None:
        super().__init__()
        self.width = width = encoder.config.hidden_size
        self.encoder = encoder
        self.objective = objective_of(rating, config, 3 * width)
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
        ratings: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """``logits`` (B, C) float32, meaningless where a row has fewer candidates; maybe ``loss``.

        Args:
            tokens: (B, T) int64.
            positions: (B, T) int64.
            segments: (B, T) int64.
            labels: (B, C) float32: 1 met next, 0 sampled, or the standardised rating; NaN = no
                label. With it the result holds ``loss``; see `rankers.bert_objective`.
            size: ``C``, where there are no labels.
            ratings, weights: (B, C) float32 or ``None``; see `Objective.forward`.
        """
        width = labels.shape[1] if labels is not None else size
        flat = self.flatten(tokens, positions, segments, int(width or 0))

        def once() -> tuple[torch.Tensor, torch.Tensor]:
            features = self.features(flat)
            return self.judge(features), features

        if labels is None:
            return {"logits": once()[0]}
        return self.objective.of(
            once, labels, ratings=ratings, weights=weights, training=self.training
        )

    def logits(self, flat: Flat, states: torch.Tensor | None = None) -> torch.Tensor:
        """(U, C) float32 logits; meaningless where a history has fewer candidates.

        Args:
            states: (T, D) what `encode` gives, where something else computed it.
        """
        return self.judge(self.features(flat, states))

    def features(self, flat: Flat, states: torch.Tensor | None = None) -> torch.Tensor:
        """(U, C, F) float32: what the head reads of each candidate."""
        states = (self.encode(flat) if states is None else states).float()
        history, items = flat.blocks.means(states)  # (U, D), (U, C, D)
        h, c = on_sphere(history)[:, None].expand_as(items), on_sphere(items)
        features: torch.Tensor = self.dropout(torch.cat([c, h, c * h], dim=-1))  # (U, C, 3D)
        return features

    def judge(self, features: torch.Tensor) -> torch.Tensor:
        """(U, C) float32 logits of ``features`` (U, C, F)."""
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

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Let the encoder's layers be computed again in the backward pass; the Trainer asks."""
        self.encoder.activation_checkpointing_enable(**options)

    def own_parts(self) -> list[nn.Module]:
        """What is trained whatever is tuned: all that did not come with the encoder."""
        return [part for name, part in self.named_children() if name != "encoder"]

    def own_state(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights beside the encoder's, by their names."""
        state = self.state_dict()
        return {k: v.cpu().numpy() for k, v in state.items() if not k.startswith("encoder.")}

    def calibrate(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> None:
        """Set the bias of the untrained head so that the mean prediction is the mean label."""
        if not self.objective.calibrates:
            return
        with torch.no_grad():
            self.head.bias += calibrated_bias(logits, labels, rating=self.objective.rating)


def matrix_weights(encoder: nn.Module) -> int:
    """Numbers in the linear layers of ``encoder``, without its pooler."""
    return sum(
        part.weight.numel()
        for name, part in encoder.named_modules()
        if isinstance(part, nn.Linear) and "pooler" not in name
    )
