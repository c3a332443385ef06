"""The standard cross-encoder: ``[CLS] history [SEP] item [SEP]``, every token looks at every other.

This is the form of Nogueira and Cho ("Passage Re-ranking with BERT", arXiv:1901.04085, 2019,
section 3) and of the pretrained rerankers of the Hub: one pair a sequence, token types 0 and 1, the
model's own pooler and classifier with one label. It is the dearest mode, since each candidate reads
the history anew: ``candidates x (history + item)`` tokens. What is saved is an ordinary
sentence-transformers ``CrossEncoder``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fusion.candidates import Candidates
from fusion.errors import ConfigError, explain
from fusion.queries import Queries
from fusion.ragged import Ragged, spans
from fusion.work import attention_flops, count, linear_flops, timed
from rankers.bert_config_training import Training
from rankers.bert_heads import calibrated_bias
from rankers.bert_history import pasts
from rankers.bert_model import matrix_weights, objective_of
from rankers.bert_text import Texts

__all__ = ["CrossNet", "Pairs", "check_cross_encoder", "make_pairs", "score_pairs"]


@dataclass(frozen=True, slots=True)
class Pairs:
    """``P`` pairs of a history and an item, padded on the right to ``T`` tokens.

    Attributes:
        tokens: (P, T) int64.
        mask: (P, T) int64: 1 token, 0 padding.
        types: (P, T) int64: 0 in the history, 1 in the item.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    types: torch.Tensor


class Forward(Protocol):
    """Computes the logits (P,) float32 of `Pairs`."""

    def __call__(self, pairs: Pairs) -> torch.Tensor:
        """Logits in the order of the pairs."""


def make_pairs(
    texts: Texts, histories: Sequence[npt.NDArray[np.int32]], items: npt.NDArray[np.integer[Any]]
) -> Pairs:
    """Each of ``items`` (P,) after its history, the tokens that `Texts.shown` gave.

    Models with two tokens between the texts of a pair (RoBERTa) get both; see `Texts.middle`.
    """
    middle = [texts.end] * texts.middle
    firsts = Ragged.of([[texts.start, *shown.tolist(), *middle] for shown in histories])
    seconds = texts.candidates.take(items)
    # an item without its opening token; its closing one stays
    heads, tails = firsts.lengths, np.maximum(seconds.lengths - 1, 0)
    longest = int((heads + tails).max(initial=0))
    row = np.arange(len(heads), dtype=np.int64) * longest
    tokens = np.full(len(heads) * longest, texts.pad, np.int64)
    mask, types = np.zeros_like(tokens), np.zeros_like(tokens)
    first, second = spans(row, heads), spans(row + heads, tails)
    tokens[first] = firsts.values
    tokens[second] = seconds.values[spans(seconds.offsets[:-1] + 1, tails)]
    mask[first] = mask[second] = types[second] = 1
    shape = (len(heads), longest)
    return Pairs(*(torch.from_numpy(x.reshape(shape)) for x in (tokens, mask, types)))


class CrossNet(nn.Module):  # type: ignore[misc]
    """A sequence classifier with one label.

    Args:
        encoder: what ``AutoModelForSequenceClassification`` gives.
        rating: whether the score is a rating, standardised; else it is a logit.
        config: what it is trained on; ``None`` = squared error or cross-entropy.
    """

    def __init__(self, encoder: Any, *, rating: bool, config: Training | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective_of(rating, config, encoder.config.hidden_size)
        self.types = getattr(encoder.config, "type_vocab_size", 0) or 0

    def forward(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        types: torch.Tensor,
        place: torch.Tensor,
        labels: torch.Tensor,
        ratings: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """``loss`` of the batch, and ``logits`` (B, C) float32; NaN without a pair.

        Args:
            tokens, mask, types: (P, T) int64, see `Pairs`.
            place: (P,) int64: where the label of each pair stands in ``labels``, flattened.
            labels: (B, C) float32: 1 met next, 0 sampled, or the standardised rating; NaN = no
                label.
            ratings, weights: (B, C) float32 or ``None``; see `Objective.forward`.
        """
        pairs, second = Pairs(tokens, mask, types), self.objective.second is not None

        def once() -> tuple[torch.Tensor, torch.Tensor | None]:
            found, first = self._read(pairs, second=second)
            spread = torch.full_like(labels, float("nan")).flatten()
            logits = spread.index_copy(0, place, found.to(labels.dtype)).view_as(labels)
            if first is None:
                return logits, None
            features = first.new_zeros((labels.numel(), first.shape[1]))
            return logits, features.index_copy(0, place, first).view(*labels.shape, -1)

        return self.objective.of(
            once, labels, ratings=ratings, weights=weights, training=self.training
        )

    def logits(self, pairs: Pairs) -> torch.Tensor:
        """(P,) float32."""
        return self._read(pairs)[0]

    def _read(self, pairs: Pairs, *, second: bool = False) -> tuple[torch.Tensor, Any]:
        """Logits (P,) float32, and the last states of the first tokens (P, D) if asked for."""
        arguments: dict[str, Any] = {"token_type_ids": pairs.types} if self.types > 1 else {}
        if second:
            arguments["output_hidden_states"] = True
        # transformers asks the mask whether it masks anything
        output = self.encoder(input_ids=pairs.tokens, attention_mask=pairs.mask, **arguments)
        first = output.hidden_states[-1][:, 0].float() if second else None
        return output.logits[:, 0].float(), first

    def cost(self, pairs: Pairs) -> dict[str, float]:
        """What `logits` computes, in the names of `fusion.work`."""
        config, (p, t) = self.encoder.config, pairs.tokens.shape
        across = attention_flops(p * t * t, config.hidden_size, config.num_hidden_layers)
        weights = matrix_weights(self.encoder.base_model)
        return {"tokens": p * t, "flops": linear_flops(p * t, weights) + across, "passes": 1}

    def to_precision(self, dtype: torch.dtype) -> None:
        """Let the encoder compute in ``dtype``; the classifier stays in float32."""
        self.encoder.to(dtype)
        if dtype != torch.float32:
            head = self.encoder.classifier.float()
            head.register_forward_pre_hook(lambda module, args: tuple(a.float() for a in args))

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Let the encoder's layers be computed again in the backward pass; the Trainer asks."""
        self.encoder.activation_checkpointing_enable(**options)

    def own_parts(self) -> list[nn.Module]:
        """What is trained whatever is tuned: the classifier, and what the objective has."""
        return [self.encoder.classifier, self.objective]

    def own_state(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights beside the encoder's, by their names; none but for several tasks."""
        state = self.state_dict()
        return {k: v.cpu().numpy() for k, v in state.items() if not k.startswith("encoder.")}

    def calibrate(self, logits: npt.NDArray[np.float32], labels: npt.NDArray[np.float32]) -> None:
        """Set the classifier's bias so that the mean prediction is the mean label."""
        if not self.objective.calibrates:
            return
        last = [m for m in self.encoder.classifier.modules() if isinstance(m, nn.Linear)][-1]
        with torch.no_grad():
            last.bias += calibrated_bias(logits, labels, rating=self.objective.rating)


def check_cross_encoder(encoder: Any, name: str, *, longest: int) -> None:
    """Refuse a model that cannot read pairs of ``longest`` tokens, or says more than one number.

    Raises:
        ConfigError: likewise.
    """
    who = f"bert base_model {name!r}"
    config = encoder.config
    if not isinstance(getattr(encoder, "classifier", None), nn.Module) or config.num_labels != 1:
        wanted = "a sequence classifier with one label, in `classifier` (BERT, RoBERTa)"
        got = f"{type(encoder).__name__} with {config.num_labels} labels"
        raise ConfigError(explain(who, wanted, got, "choose another base_model"))
    # position ids of RoBERTa and its kin begin after the padding id
    padding = getattr(getattr(encoder.base_model, "embeddings", None), "padding_idx", None)
    room = getattr(config, "max_position_embeddings", longest) - (
        0 if padding is None else int(padding) + 1
    )
    if longest > room:
        wanted = f"history_tokens and item_tokens that make pairs of at most {room} tokens"
        raise ConfigError(explain(who, wanted, str(longest), "lower them"))


def score_pairs(
    net: CrossNet,
    texts: Texts,
    queries: Queries,
    candidates: Candidates,
    *,
    batch_tokens: int,
    forward: Forward | None = None,
) -> npt.NDArray[np.float32]:
    """(N,) float32 logits of every row; NaN without text or without history.

    Pairs of like length share a pass, so that hardly anything of it is padding. A row's logit does
    not depend on the rows beside it, beyond rounding.

    Args:
        forward: computes `CrossNet.logits` in its stead.
    """
    out = np.full(len(candidates), np.nan, np.float32)
    device = next(net.parameters()).device
    with timed("tokenize"):
        shown = [texts.shown(past) for past in pasts(queries)]
        heads = np.array([len(x) for x in shown], np.int64)[candidates.rows]
        tails = texts.lengths[candidates.items]
        rows = np.flatnonzero((heads > 0) & (tails > 0))
        sizes = heads + tails + 2 + texts.middle
        rows = rows[np.argsort(-sizes[rows], kind="stable")]
    owners, found = candidates.rows, []
    with torch.inference_mode():
        start = 0
        while start < len(rows):
            # the first is the longest: all are padded to it
            part = rows[start : start + max(1, batch_tokens // int(sizes[rows[start]]))]
            start += len(part)
            with timed("tokenize"):
                pairs = make_pairs(texts, [shown[q] for q in owners[part]], candidates.items[part])
            count(**net.cost(pairs))
            with timed("forward"):
                found.append(net.logits(_on(pairs, device)) if forward is None else forward(pairs))
        with timed("forward"):  # one copy back: a GPU waits here
            if found:
                out[rows] = torch.cat(found).cpu().numpy()
    return out


def _on(pairs: Pairs, device: torch.device) -> Pairs:
    parts = (pairs.tokens, pairs.mask, pairs.types)
    return Pairs(*(x.to(device, non_blocking=True) for x in parts))
