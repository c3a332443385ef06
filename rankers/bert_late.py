"""Late interaction: item tokens are encoded ahead, a request encodes only the history.

History and item meet only at the end, token by token, so the states of every item's tokens are
computed once after training and kept in a file (`rankers.bert_token_store`). A request encodes its
history, gathers the candidates' token vectors, and takes for each history token the best match:

    score = bias + slope * mean over history tokens i of max over item tokens j of cos(h_i, c_j)

This is the MaxSim operator of ColBERT (Khattab and Zaharia, "ColBERT: Efficient and Effective
Passage Search via Contextualized Late Interaction over BERT", SIGIR 2020, arXiv:2004.12832, section
3), with a mean where the paper has a sum, so that long and short histories are on one scale, and a
learned slope and bias that make it the logit, or the rating, that the loss asks for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fusion.candidates import Candidates
from fusion.errors import ConfigError, explain
from fusion.progress import track
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.work import count, timed
from rankers.bert_config_training import Training
from rankers.bert_heads import first_slope
from rankers.bert_history import pasts
from rankers.bert_model import Flat, Net, objective_of
from rankers.bert_scoring import Encode
from rankers.bert_text import Texts
from rankers.bert_token_store import TokenStore

__all__ = ["LateNet", "encode_items", "score_late"]


class LateNet(Net):
    """An encoder that reads every text alone, and MaxSim over its token states.

    Args:
        encoder: an encoder that `rankers.bert_check.check_encoder` accepts.
        rating: whether the head is the rating head or the ctr head.
        size: numbers a token vector has, by a learned projection; ``None`` = those of the encoder.
        config: what it is trained on; ``None`` = squared error or cross-entropy.
    """

    item_type = 0  # an item is a text of its own
    head: nn.Linear  # slope (1, 1) and bias (1,)

    def __init__(
        self,
        encoder: Any,
        *,
        rating: bool,
        size: int | None = None,
        config: Training | None = None,
    ) -> None:
        super().__init__(encoder, rating=rating, history_bias=None, dropout=0.0)
        self.objective = objective_of(rating, config, 1)  # the second task reads the cosine, too
        self.head = nn.utils.skip_init(nn.Linear, 1, 1)
        self.project: nn.Linear | None = None
        with torch.no_grad():
            self.head.weight.fill_(first_slope(rating=rating))
            self.head.bias.zero_()
        if size is not None and size > self.width:
            wanted = f"at most the {self.width} numbers of the encoder's states"
            raise ConfigError(explain("bert late_size", wanted, str(size), "lower it"))
        if size is not None:
            # a random orthonormal projection keeps cosines best before it is trained
            self.project = nn.utils.skip_init(nn.Linear, self.width, size, bias=False)
            draw = np.random.default_rng(0).standard_normal((self.width, size))
            basis = np.linalg.qr(draw)[0].T  # (size, width), orthonormal rows
            with torch.no_grad():
                self.project.weight.copy_(torch.from_numpy(basis))

    @property
    def vector_size(self) -> int:
        """Numbers a token vector has."""
        return int(self.width if self.project is None else self.project.out_features)

    def vectors(self, states: torch.Tensor) -> torch.Tensor:
        """(T, E) float32 of length 1, from states (T, D)."""
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            states = states if self.project is None else self.project(states)
            return nn.functional.normalize(states, dim=-1)

    def features(self, flat: Flat, states: torch.Tensor | None = None) -> torch.Tensor:
        """(U, C, 1) float32: mean best cosines."""
        blocks = flat.blocks
        vectors = self.vectors(self.encode(flat) if states is None else states)
        (u, s), (_, c, length) = blocks.history.shape, blocks.items.shape
        history = vectors.index_select(0, blocks.history.reshape(-1)).view(u, s, -1)
        items = vectors.index_select(0, blocks.items.reshape(-1)).view(u, c * length, -1)
        with torch.autocast(vectors.device.type, enabled=False):
            cosines = (history @ items.transpose(1, 2)).view(u, s, c, length)
            best = (cosines + blocks.items_mask[:, None]).amax(-1)  # (U, S, C)
            real = (blocks.history_mask == 0).float()[..., None]  # (U, S, 1)
            mean = (best * real).sum(1) / real.sum(1).clamp(min=1.0)  # (U, C)
            return mean[..., None]


def encode_items(
    net: LateNet,
    texts: Texts,
    store: TokenStore,
    *,
    batch_tokens: int,
    progress: bool,
    encode: Encode | None = None,
) -> None:
    """Fill ``store`` with the vectors of every item's tokens, in passes over items of like length.

    Args:
        encode: computes `Net.encode` in its stead.
    """
    items = texts.candidates
    lengths = items.lengths
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    # passes of about batch_tokens tokens each
    passed = np.cumsum(lengths[order]) // batch_tokens
    parts = np.split(order, np.flatnonzero(np.diff(passed)) + 1) if len(order) else []
    device = next(net.parameters()).device
    with torch.inference_mode():
        for part in track(parts, "encode items", total=len(parts), show=progress):
            chosen = items.take(part)
            flat = net.layout(chosen.values, chosen.lengths[:, None])
            states = net.encode(flat.to(device)) if encode is None else encode(flat).to(device)
            store.put(part, net.vectors(states).half().cpu().numpy())
            count(**net.cost(flat))
    store.close()


def score_late(
    net: LateNet,
    texts: Texts,
    store: TokenStore,
    queries: Queries,
    candidates: Candidates,
    *,
    batch_tokens: int,
    encode: Encode | None = None,
) -> npt.NDArray[np.float32]:
    """(N,) float32 logits of every row; NaN without text or without history.

    A row's logit does not depend on the rows beside it, beyond rounding. Item vectors are stored in
    float16, which moves a cosine by less than 1e-3.

    Args:
        encode: computes `Net.encode` in its stead.
    """
    out = np.full(len(candidates), np.nan, np.float32)
    device = next(net.parameters()).device
    with timed("tokenize"):
        histories = Ragged.of([texts.history(past) for past in pasts(queries)])
        usable = texts.known[candidates.items] & (histories.lengths[candidates.rows] > 0)
        rows = np.flatnonzero(usable)
        asked = np.unique(candidates.rows[rows])
        asked = asked[np.argsort(-histories.lengths[asked], kind="stable")]
    found: list[tuple[npt.NDArray[np.int64], torch.Tensor]] = []
    with torch.inference_mode():
        for part in _parts(asked, histories.lengths[asked], batch_tokens):
            with timed("tokenize"):
                chosen = histories.take(part)
                flat = net.layout(chosen.values, chosen.lengths[:, None])
            with timed("forward"):
                states = net.encode(flat.to(device)) if encode is None else encode(flat).to(device)
                vectors = net.vectors(states).split(chosen.lengths.tolist())
            count(**net.cost(flat))
            for query, history in zip(part.tolist(), vectors, strict=True):
                first, last = candidates.offsets[query : query + 2]
                mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
                with timed("gather"):
                    tokens, lengths = store.gather(candidates.items[mine])
                with timed("interact"):
                    found.append((mine, net.judge(_max_sim(history, tokens, lengths)[:, None])))
                flops = 2.0 * len(history) * len(tokens) * net.vector_size
                count(flops=flops, bytes=tokens.nbytes)
        # one copy back for all queries: a GPU waits here and nowhere else
        values = torch.cat([v for _, v in found]).cpu().numpy() if found else np.empty(0)
    if found:
        out[np.concatenate([mine for mine, _ in found])] = values
    return out


def _max_sim(
    history: torch.Tensor, tokens: npt.NDArray[np.float16], lengths: npt.NDArray[np.int64]
) -> torch.Tensor:
    """(n,) mean over ``history`` (S, E) of the best cosine with each item's ``tokens`` (N, E)."""
    there = history.device
    vectors = torch.from_numpy(tokens).to(there, non_blocking=True).float()
    cosines = vectors @ history.T  # (N, S)
    sizes = torch.from_numpy(lengths).to(there, non_blocking=True)
    return torch.segment_reduce(cosines, "max", lengths=sizes, unsafe=True).mean(1)


def _parts(
    asked: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], batch_tokens: int
) -> list[npt.NDArray[np.int64]]:
    """Consecutive parts of at most ``batch_tokens`` tokens (or one query)."""
    parts: list[list[int]] = []
    used = 0
    for query, length in zip(asked.tolist(), lengths.tolist(), strict=True):
        if not parts or used + length > batch_tokens:
            parts.append([])
            used = 0
        parts[-1].append(query)
        used += length
    return [np.array(part, np.int64) for part in parts]
