"""Dense retrieval: a sentence encoder over item texts, fine-tuned on interactions, and FAISS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.candidates import Candidates, Missing, Scores
from fusion.data.dataset import Dataset
from fusion.errors import DataError, explain
from fusion.protocols import FitContext, Retriever, RetrieverConfig
from fusion.queries import Queries
from fusion.ragged import Ragged
from retrievers.dense_search import cosines, nearest
from retrievers.dense_training import (
    Held,
    TrainingSettings,
    hold_out,
    sample_events,
    train,
)
from retrievers.encoder import Encoder, Precision, unit
from retrievers.faiss_index import FaissIndex, IndexSettings, import_faiss
from retrievers.history import history_matrix
from retrievers.linear import WarmItems

__all__ = ["Dense"]


class DenseConfig(RetrieverConfig):
    """Options of `Dense`."""

    base_model: str = Field(
        "all-MiniLM-L6-v2", description="a sentence encoder: a folder, a packaged model, a Hub name"
    )
    user: Literal["mean", "text"] = Field(
        "mean",
        description="a user is the recency-weighted mean of the items met, or the texts of the "
        "newest ones read by the encoder as one text",
    )
    half_life: float | None = Field(
        1.0, gt=0, description="mean: events after which an event counts half; null = never"
    )
    texts: int = Field(5, ge=1, description="text: how many newest items are read")
    item_tokens: int = Field(64, ge=4, description="tokens read of an item's text")
    user_tokens: int = Field(128, ge=4, description="text: tokens read of the history")
    batch_size: int = Field(64, ge=1, description="texts encoded at once")
    precision: Precision = Field(
        "auto",
        description="of training and of encoding the catalogue; auto = bfloat16 where the hardware "
        "multiplies it; histories are always encoded in float32",
    )
    train: TrainingSettings = Field(default_factory=TrainingSettings)
    index: IndexSettings = Field(default_factory=IndexSettings)


class Dense(Retriever):
    """Cosine between a user's vector and an item's, both from one sentence encoder.

    Fine-tuning teaches the encoder that the text of what somebody met (``user: mean``: the item
    just before; ``user: text``: the last items as one text) lies near the text of what came next.
    A score is the exact cosine, in [-1, 1], also where the index that retrieves is approximate.

    An item without text is cold, whatever its events; an item that nobody met is not, which is what
    this model is for. A query whose history holds no item with text is cold. The age of an event is
    counted among the events whose item has text. Lists are ordered by item index.
    """

    Config: ClassVar[type[DenseConfig]] = DenseConfig

    _warm: WarmItems | None = None
    _texts: Sequence[str]
    _encoder: Encoder
    _vectors: npt.NDArray[np.float32]  # (W, D), length 1
    _index: FaissIndex
    _useful_pairs: int

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Fine-tune from the base model, stop early on held-out events, index the catalogue."""
        import_faiss()
        data.require_events(self.name)
        warm = self._readable(data)
        config = self.config
        self._encoder = Encoder.base(config.base_model, config.precision)
        self._texts = data.catalog.texts
        self._warm = None
        rng = context.rng(f"{self.name}.fit")
        self._useful_pairs = 0
        if config.train.max_pairs:
            held = hold_out(
                data,
                warm.columns >= 0,
                config.train.validation_users,
                config.train.validation_items,
                rng,
            )
            learn = data if held is None else held.train
            rows = sample_events(
                learn, warm.columns >= 0, config.train.max_pairs, config.train.epochs, rng
            )
            self._useful_pairs = self._train(learn, rows, held, rng, context)
        self._embed(warm, rng, context)

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Go on from the fitted weights, for ``train.refit_share`` of the pairs that helped."""
        if self._warm is None:
            raise self.not_fitted()
        warm = self._readable(data)
        self._texts = data.catalog.texts
        rng = context.rng(f"{self.name}.refit")
        count = round(self.config.train.refit_share * self._useful_pairs)
        rows = sample_events(data, warm.columns >= 0, count, self.config.train.epochs, rng)
        self._train(data, rows, None, rng, context)
        self._embed(warm, rng, context)

    def _readable(self, data: Dataset) -> WarmItems:
        items = np.array([i for i, text in enumerate(data.catalog.texts) if text], np.int32)
        if len(items) == 0:
            raise DataError(
                explain(
                    self.name, "items with text", "none", "pass items with a title, or leave it out"
                )
            )
        return WarmItems.of(items, data.n_items)

    def _train(
        self,
        data: Dataset,
        rows: npt.NDArray[np.int64],
        held: Held | None,
        rng: np.random.Generator,
        context: FitContext,
    ) -> int:
        if len(rows) < 2:
            return 0
        asked = data.queries_before(data.interactions.users[rows].astype(np.int64), rows)
        count = 1 if self.config.user == "mean" else self.config.texts
        longest = self.config.user_tokens if self.config.user == "text" else self.config.item_tokens
        return train(
            self._encoder.reading(longest),
            (self._history_texts(asked, count), self._texts_of(data.interactions.items[rows])),
            self.config.train,
            evaluate=None if held is None else lambda: self._held_ndcg(held),
            bf16=self._encoder.bf16,
            seed=int(rng.integers(2**31)),
            progress=context.progress,
        )

    def _held_ndcg(self, held: Held) -> float:
        """NDCG@10 of the held-out events among ``held.pool``, items met before left out."""
        vectors = self._encode_items(held.pool)
        pool = WarmItems.of(held.pool, len(self._texts))
        queries = held.queries
        known, users = self._user_vectors(queries, pool, vectors)
        scores = users @ vectors.T  # (V, P)
        seen = pool.columns[queries.excluded.values]
        scores[queries.excluded.rows[seen >= 0], seen[seen >= 0]] = -np.inf
        target = scores[np.arange(len(scores)), pool.columns[held.targets]]
        rank = 1 + (scores > target[:, None]).sum(axis=1)
        gains = np.where(known & (rank <= 10), 1 / np.log2(rank + 1), 0.0)
        return float(gains.mean())

    def _embed(self, warm: WarmItems, rng: np.random.Generator, context: FitContext) -> None:
        self._vectors = self._encode_items(warm.items, progress=context.progress)
        self._index = FaissIndex.build(
            self._vectors, self.config.index, seed=int(rng.integers(2**31))
        )
        self._warm = warm

    def _texts_of(self, items: npt.NDArray[np.int32]) -> list[str]:
        return [self._texts[item] for item in items]

    def _encode_items(
        self, items: npt.NDArray[np.int32], *, progress: bool = False
    ) -> npt.NDArray[np.float32]:
        return self._encoder.encode(
            self._texts_of(items),
            tokens=self.config.item_tokens,
            batch_size=self.config.batch_size,
            exact=False,
            progress=progress,
        )

    def _history_texts(self, queries: Queries, count: int) -> list[str]:
        """The texts of each query's ``count`` newest items, the newest first, as one text."""
        return [
            " ".join(self._texts[item] for item in history[::-1][:count])
            for history in queries.history
        ]

    def _user_vectors(
        self, queries: Queries, warm: WarmItems, vectors: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
        """(Q,) bool whether the query is known, (Q, D) float32 unit vectors, zeros where not."""
        queries = _readable_history(queries, warm)
        known = queries.history.lengths > 0
        if self.config.user == "mean":
            weights = history_matrix(
                queries, warm.columns, len(warm), half_life=self.config.half_life
            )
            return known, unit(weights @ vectors)
        out = np.zeros((len(queries), vectors.shape[1]), np.float32)
        asked = queries.take(np.flatnonzero(known))
        out[known] = self._encoder.encode(
            self._history_texts(asked, self.config.texts),
            tokens=self.config.user_tokens,
            batch_size=self.config.batch_size,
            exact=True,
        )
        return known, out

    def retrieve(self, queries: Queries, n: int) -> Candidates:
        """See `fusion.protocols.Retriever.retrieve`; rows by query, then by item index.

        With an approximate index a list may miss a near item, and be shorter than ``n``.
        """
        if self._warm is None:
            raise self.not_fitted()
        known, users = self._user_vectors(queries, self._warm, self._vectors)
        return nearest(self.name, self._index, self._vectors, self._warm, queries, users, known, n)

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """See `fusion.protocols.Model.score`: exact cosines."""
        if self._warm is None:
            raise self.not_fitted()
        known, users = self._user_vectors(queries, self._warm, self._vectors)
        column, query = self._warm.columns[candidates.items].astype(np.int64), candidates.rows
        there = (column >= 0) & known[query]
        values = np.full(len(candidates), np.nan, np.float32)
        values[there] = cosines(users, self._vectors, query[there], column[there])
        return Scores.of(values, Missing.COLD)

    def save(self, folder: Path) -> None:
        """The encoder's folder (safetensors), the vectors, faiss's index, and a JSON file."""
        if self._warm is None:
            raise self.not_fitted()
        self._encoder.save(folder / "encoder")
        write_arrays(
            folder / "items.safetensors", {"items": self._warm.items, "vectors": self._vectors}
        )
        self._index.write(folder / "items.faiss")
        write_json(folder / "dense.json", {"useful_pairs": self._useful_pairs})

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        import_faiss()
        arrays = read_arrays(folder / "items.safetensors")
        self._encoder = Encoder.load(folder / "encoder", self.config.precision)
        self._texts = data.catalog.texts
        self._vectors = arrays["vectors"]
        self._index = FaissIndex.read(folder / "items.faiss", self.config.index)
        self._useful_pairs = int(read_json(folder / "dense.json")["useful_pairs"])
        self._warm = WarmItems.of(arrays["items"], data.n_items)


def _readable_history(queries: Queries, warm: WarmItems) -> Queries:
    """The same queries without the events whose item is not in ``warm``."""
    history = queries.history
    keep = warm.columns[history.values] >= 0
    kept = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
    return replace(
        queries,
        history=Ragged(kept[history.offsets], history.values[keep]),
        times=queries.times[keep],
        ratings=queries.ratings[keep],
    )
