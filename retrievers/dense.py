"""Dense retrieval: a sentence encoder over item texts, fine-tuned on interactions, and FAISS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.candidates import Candidates, Missing, Scores
from fusion.data.dataset import Catalog, Dataset
from fusion.errors import DataError, explain
from fusion.protocols import FitContext, Retriever
from fusion.queries import Queries
from fusion.work import timed
from retrievers.dense_changes import Changes, compare
from retrievers.dense_checkpoint import trained_once
from retrievers.dense_config import DenseConfig
from retrievers.dense_encoding import encoded
from retrievers.dense_held import Held, hold_out, pool_ndcg
from retrievers.dense_lessons import Lessons
from retrievers.dense_reading import history_texts
from retrievers.dense_search import cosines, nearest
from retrievers.dense_sequence import Run, Sequence, held_out
from retrievers.dense_store import VectorStore
from retrievers.dense_training import pretrain, train
from retrievers.dense_users import mean_users, readable_history
from retrievers.encoder import Encoder
from retrievers.faiss_index import FaissIndex, import_faiss
from retrievers.faiss_recall import QUERIES, mixed_users
from retrievers.linear import WarmItems

__all__ = ["Dense"]


class Dense(Retriever):
    """Cosine between a user's vector and an item's, both from one sentence encoder.

    Fine-tuning brings what somebody met, represented as it is when the model is asked (``user:
    mean``: the weighted mean of the items' vectors; ``user: text``: the last items read as one
    text), near what came next; see `retrievers.dense_loss.NextItem`. With ``user: sequence`` the
    vectors are then projected, and a small transformer over those of the items met is trained to
    foretell the next one's; see `retrievers.dense_sequence_model.TextNetwork`.
    A score is the exact cosine, in [-1, 1], also where the index that retrieves is approximate.

    An item without text is cold, whatever its events; an item that nobody met is not, which is what
    this model is for. A query whose history holds no item with text is cold. The age of an event is
    counted among the events whose item has text. Lists are ordered by item index.
    """

    Config: ClassVar[type[DenseConfig]] = DenseConfig

    _warm: WarmItems | None = None
    _catalog: Catalog
    _encoder: Encoder
    _index: FaissIndex  # its store holds the items' vectors
    _useful_pairs: int
    _sequence: Sequence | None = None  # with user: sequence, once it is trained

    def needs(self) -> tuple[str, ...]:
        """The retrievers that hard negatives are mined from, but for this one itself."""
        return tuple(name for name in self.config.train.hard_negatives.models if name != self.name)

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Fine-tune from the base model, stop early on held-out events, index the catalogue."""
        import_faiss()
        data.require_events(self.name)
        warm = self._readable(data)
        config = self.config
        self._encoder = Encoder.base(config.base_model, config.precision)
        self._catalog = data.catalog
        self._warm = self._sequence = None
        rng = context.rng(f"{self.name}.fit")
        events, last = data, None
        if config.user == "sequence":
            rng_held = context.rng(f"{self.name}.held")
            events, last = held_out(config.sequence, data, warm, rng_held)

        def learn(folder: Path | None) -> int:
            if config.train.max_pairs == 0:
                return 0
            held = hold_out(
                events,
                warm.columns >= 0,
                config.train.validation_users,
                config.train.validation_items,
                rng,
            )
            before = events if held is None else held.train
            count = config.train.max_pairs
            return self._train(before, count, warm, held, rng, context, folder, first=True)

        def make_sequence(texts: npt.NDArray[Any]) -> Sequence:
            run = self._run(context)
            return Sequence.fitted(config.sequence, texts, events, warm, last, run)

        self._useful_pairs = self._learn(learn, "fit", data, warm, context, make_sequence)

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Go on from the fitted weights, for ``train.refit_share`` of the pairs that helped."""
        if self._warm is None:
            raise self.not_fitted()
        warm = self._readable(data)
        self._catalog = data.catalog
        rng = context.rng(f"{self.name}.refit")
        # the encoder learns without it, and half refitted the model can no longer be asked
        before, self._sequence, self._warm = self._sequence, None, None

        def learn(folder: Path | None) -> int:
            count = round(self.config.train.refit_share * self._useful_pairs)
            return self._train(data, count, warm, None, rng, context, folder, first=False)

        def make_sequence(texts: npt.NDArray[Any]) -> Sequence:
            assert before is not None
            return before.refitted(texts, data, warm, self._run(context))

        self._learn(learn, f"refit {self._useful_pairs}", data, warm, context, make_sequence)

    def _run(self, context: FitContext) -> Run:
        return Run(self.name, self.config.precision, self._encoder.digest, context)

    def _learn(
        self,
        learn: Callable[[Path | None], int],
        phase: str,
        data: Dataset,
        warm: WarmItems,
        context: FitContext,
        make_sequence: Callable[[npt.NDArray[Any]], Sequence],
    ) -> int:
        """Train and index; each is kept in the workdir until both are done."""
        identity = [self.config.model_dump(mode="json"), data.fingerprint, context.seed, phase]
        with trained_once(
            self._encoder,
            learn,
            identity=identity,
            precision=self.config.precision,
            folder=context.workdir,
        ) as (self._encoder, pairs):
            sequence = self.config.user == "sequence"
            self._embed(data, warm, context, make_sequence if sequence else None)
        return pairs

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
        count: int,
        warm: WarmItems,
        held: Held | None,
        rng: np.random.Generator,
        context: FitContext,
        folder: Path | None,
        *,
        first: bool,
    ) -> int:
        """Train on up to ``count`` events of ``data``; returns how many helped."""
        config, recipe = self.config, self.config.train
        seed = int(rng.integers(2**31))
        if self.name in recipe.hard_negatives.models:
            self._embed(data, warm, context)
            context = replace(context, fitted={**context.fitted, self.name: self})
        lessons = Lessons(config, self._encoder, data, warm.columns >= 0, count, context)
        if lessons.count < 2:
            return 0
        if first:
            pretrain(
                self._encoder,
                self._texts_of(warm.items),
                recipe,
                tokens=config.item_tokens,
                seed=seed,
                folder=folder,
                progress=context.progress,
            )
        return train(
            self._encoder,
            lessons.reader,
            recipe,
            evaluate=None if held is None else lambda: self._held_ndcg(held),
            seed=seed,
            folder=folder,
            bar=f"train {self.name}" if context.progress else "",
        )

    def _held_ndcg(self, held: Held) -> float:
        vectors = self._encode_items(held.pool)
        pool = WarmItems.of(held.pool, len(self._catalog))
        known, users = self._user_vectors(held.queries, pool, VectorStore(vectors))
        return pool_ndcg(users, known, vectors, pool.columns, held)

    def _embed(
        self,
        data: Dataset,
        warm: WarmItems,
        context: FitContext,
        make_sequence: Callable[[npt.NDArray[Any]], Sequence] | None = None,
    ) -> None:
        """Encode the catalogue, index it, and see that the index finds what users here want.

        Args:
            data: whose users are asked for.
            warm: the items.
            context: folder, bar and seeds.
            make_sequence: from the texts' vectors to what projects them; ``None`` = nothing does.
        """
        rng = context.rng(f"{self.name}.index")
        config = self.config
        with encoded(
            self._encoder,
            self._texts_of(warm.items),
            tokens=config.item_tokens,
            batch_size=config.batch_size,
            dtype=config.store,
            folder=context.workdir,
            progress=context.progress,
        ) as vectors:
            if make_sequence is not None:
                self._sequence = make_sequence(vectors)
            store = VectorStore(self._projected(vectors).astype(config.store, copy=False))

            def users() -> npt.NDArray[np.float32]:
                asked = rng.choice(data.n_users, min(QUERIES, data.n_users), replace=False)
                known, vectors = self._user_vectors(data.queries(np.sort(asked)), warm, store)
                return vectors[known] if known.any() else mixed_users(store, QUERIES, rng)

            self._index = FaissIndex.build(
                store,
                config.index,
                seed=int(rng.integers(2**31)),
                queries=users,
                k=config.n,
            )
        self._warm = warm

    def update(self, data: Dataset) -> Changes:
        """Take over the catalogue of ``data``; encode only items that are new or read otherwise.

        The weights stay, and so does what the index was trained on. From now on queries are in the
        indices of ``data``, and it is the data set to `load` with. `provenance` stays too: the
        model has still seen only the events it was fitted on.

        Returns:
            Which items came and went, as item_index of the new and of the old catalogue.

        Raises:
            DataError: no item of ``data`` has text; the model is then what it was.
        """
        if self._warm is None:
            raise self.not_fitted()
        self._readable(data)
        changes = compare(self._catalog, self._warm.columns, data.catalog)
        vectors = self._encoder.encode(
            [data.catalog.texts[item] for item in changes.added],
            tokens=self.config.item_tokens,
            batch_size=self.config.batch_size,
            exact=False,
        )
        columns = changes.columns.copy()
        columns[changes.added] = self._index.add(self._projected(vectors))
        self._index.remove(self._warm.columns[changes.removed])
        items = np.full(len(self._index.store), -1, np.int32)
        there = np.flatnonzero(columns >= 0)
        items[columns[there]] = there
        self._catalog, self._warm = data.catalog, WarmItems(items, columns)
        return changes

    def _texts_of(self, items: npt.NDArray[Any]) -> list[str]:
        return [self._catalog.texts[item] for item in items]

    def _projected(self, vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What is indexed of the texts' vectors."""
        return vectors if self._sequence is None else self._sequence.items(vectors)

    def _encode_items(self, items: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        return self._encoder.encode(
            self._texts_of(items),
            tokens=self.config.item_tokens,
            batch_size=self.config.batch_size,
            exact=False,
        )

    def _user_vectors(
        self, queries: Queries, warm: WarmItems, store: VectorStore
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
        """(Q,) bool whether the query is known, (Q, D) float32 unit vectors, zeros where not."""
        with timed("encode"):
            queries = readable_history(queries, warm.columns)
            known = queries.history.lengths > 0
            if self.config.user != "text" and self._sequence is None:
                return known, mean_users(queries, warm.columns, store, self.config.half_life)
            out = np.zeros((len(queries), store.width), np.float32)
            asked = queries.take(np.flatnonzero(known))
            if self._sequence is not None:
                out[known] = self._sequence.users(asked, warm, store)
                return known, out
            out[known] = self._encoder.encode(
                history_texts(asked.history, self._catalog.texts, self.config.texts),
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
        known, users = self._user_vectors(queries, self._warm, self._index.store)
        with timed("search"):
            return nearest(self.name, self._index, self._warm, queries, users, known, n)

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """See `fusion.protocols.Model.score`: exact cosines."""
        if self._warm is None:
            raise self.not_fitted()
        known, users = self._user_vectors(queries, self._warm, self._index.store)
        column, query = self._warm.columns[candidates.items].astype(np.int64), candidates.rows
        there = (column >= 0) & known[query]
        values = np.full(len(candidates), np.nan, np.float32)
        values[there] = cosines(users, self._index.store, query[there], column[there])
        return Scores.of(values, Missing.COLD)

    def save(self, folder: Path) -> None:
        """The encoder's folder (safetensors), the vectors, faiss's index, and a JSON file."""
        if self._warm is None:
            raise self.not_fitted()
        self._encoder.save(folder / "encoder")
        write_arrays(folder / "items.safetensors", {"items": self._warm.items})
        self._index.store.write(folder / "vectors.safetensors")
        self._index.write(folder / "items.faiss")
        write_json(folder / "dense.json", {"useful_pairs": self._useful_pairs})
        if self._sequence is not None:
            self._sequence.save(folder)

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote; vectors and index are memory-mapped, so the folder must stay."""
        import_faiss()
        self._encoder = Encoder.load(folder / "encoder", self.config.precision)
        self._catalog = data.catalog
        store = VectorStore.read(folder / "vectors.safetensors")
        self._index = FaissIndex.read(folder / "items.faiss", self.config.index, store)
        self._useful_pairs = int(read_json(folder / "dense.json")["useful_pairs"])
        self._sequence = None
        if self.config.user == "sequence":
            self._sequence = Sequence.load(folder, self.config.sequence, self._encoder.width)
        items = read_arrays(folder / "items.safetensors")["items"]
        columns = np.full(data.n_items, -1, np.int32)
        held = self._index.labels
        columns[items[held]] = held
        self._warm = WarmItems(items, columns)
