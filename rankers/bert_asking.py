"""The fitted BERT as it is asked: where, in what precision, by what backend, in which mode."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Candidates
from fusion.data.dataset import Dataset
from fusion.queries import Queries
from rankers.bert_config import Config
from rankers.bert_cross import CrossNet, score_pairs
from rankers.bert_late import LateNet, encode_items, score_late
from rankers.bert_model import Net
from rankers.bert_scoring import score_rows
from rankers.bert_text import Texts
from rankers.bert_token_store import TokenStore
from rankers.device import best_device, quiet, working_dtype

__all__ = ["Asker", "make_net"]


def make_net(encoder: Any, config: Config) -> Any:
    """The network of ``config.mode`` around ``encoder``: `Net`, `LateNet` or `CrossNet`."""
    rating = config.head == "rating"
    if config.mode == "cross":
        return CrossNet(encoder, rating=rating, config=config)
    if config.mode == "late":
        return LateNet(encoder, rating=rating, size=config.late_size, config=config)
    return Net(
        encoder,
        rating=rating,
        history_bias=config.history_bias,
        dropout=config.dropout,
        config=config,
    )


class Asker:
    """Scores with a copy of a fitted network.

    Args:
        net: float32, on the CPU; left as it is.
        texts: the catalogue in tokens.
        config: mode, precision, backend.
        data: whose histories int8 is calibrated on; asked for nothing else.
        vectors: a file that holds the late mode's vectors of ``texts``, where there is one.
        progress: whether to show a bar while items are encoded.

    Attributes:
        store: the late mode's item vectors, else ``None``.
    """

    def __init__(
        self,
        net: Any,
        texts: Texts,
        config: Config,
        data: Dataset | None = None,
        *,
        vectors: Path | None = None,
        progress: bool = False,
    ) -> None:
        self._texts, self._config = texts, config
        self._run: Any = None
        if config.backend == "openvino":
            from rankers.bert_openvino import compiled

            self.net = net
            with quiet():
                self._run = compiled(net, texts, config, data)
        else:
            self.net = copy.deepcopy(net).to(best_device())
            self.net.to_precision(working_dtype(config.dtype))
        self.net.eval()
        self.store: TokenStore | None = None
        if config.mode == "late":
            self.store = self._vectors(vectors, progress=progress)

    def _vectors(self, file: Path | None, *, progress: bool) -> TokenStore:
        lengths, size = self._texts.candidates.lengths, self.net.vector_size
        if file is not None:
            return TokenStore.open(file, lengths, size)
        store = TokenStore(lengths, size)
        encode_items(
            self.net,
            self._texts,
            store,
            batch_tokens=self._config.batch_tokens,
            progress=progress,
            encode=self._run,
        )
        return store

    def score(self, queries: Queries, candidates: Candidates) -> npt.NDArray[np.float32]:
        """(N,) float32 logits of every row; NaN without text or without history."""
        net, texts, budget = self.net, self._texts, self._config.batch_tokens
        if self._config.mode == "cross":
            return score_pairs(
                net, texts, queries, candidates, batch_tokens=budget, forward=self._run
            )
        if self.store is not None:
            return score_late(
                net, texts, self.store, queries, candidates, batch_tokens=budget, encode=self._run
            )
        return score_rows(
            net,
            texts,
            queries,
            candidates,
            max_tokens=self._config.max_tokens,
            batch_tokens=budget,
            encode=self._run,
        )
