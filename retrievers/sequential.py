"""Sequential retrieval: a causal transformer over the items somebody met, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.data.dataset import Dataset
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.work import attention_flops, count, linear_flops, timed
from retrievers.encoder import Encoder
from retrievers.linear import BlockRetriever, WarmItems
from retrievers.sequential_config import SequentialConfig, SequentialTraining

if TYPE_CHECKING:
    from retrievers.sequential_model import Network
    from retrievers.sequential_training import Held

__all__ = ["Sequential"]


class Sequential(BlockRetriever):
    """What comes next, by GPT-2's blocks over item embeddings (`retrievers.sequential_model`).

    A score is the logarithm of the item's probability among all items the model knows: never
    positive, and comparable between queries. Known are the items with an event in what it was
    fitted on and, with ``text``, those that have a text; others are cold, and so is a query in
    whose history no item is known. Events of unknown items are left out of the history.
    """

    Config: ClassVar[type[SequentialConfig]] = SequentialConfig

    _network: Network
    _texts: tuple[str, ...] = ()  # of the whole catalogue, as `_vectors` was made from
    _vectors: npt.NDArray[np.float16] | None = None  # (I, D), zeros where there is no text
    _known: WarmItems  # as `_warm`, while training
    _steps: int  # that helped fit
    _table: npt.NDArray[np.float32] | None = None  # (W, size), made when first asked

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Train from scratch; stop early on held-out newest events."""
        from retrievers.sequential_training import hold_out

        data.require_events(self.name)
        self._warm = None
        rng = context.rng(f"{self.name}.fit")
        met = data.popularity > 0
        self._know(data, met)
        self._network = self._fresh(met, int(rng.integers(2**31)))
        held = hold_out(data, self.config.train.validation_users, rng)
        before = data if held is None else held.train
        self._steps = self._train(before, self.config.train, held, None, rng, context)

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Learn from the newer events too, as ``train.refit`` says; nothing is held out."""
        self._fitted()
        data.require_events(self.name)
        recipe, rng = self.config.train, context.rng(f"{self.name}.refit")
        met = data.popularity > 0
        self._know(data, met)
        steps = self._steps
        if recipe.refit == "scratch":
            self._network = self._fresh(met, int(rng.integers(2**31)))
        else:
            recipe = recipe.model_copy(update={"learning_rate": recipe.refit_learning_rate})
            steps = round(recipe.refit_share * steps)
        self._train(data, recipe, None, steps, rng, context)

    def _know(self, data: Dataset, met: npt.NDArray[np.bool_]) -> None:
        """Which items are known, and the vectors of their texts."""
        known = met
        if self.config.text is not None:
            if self._texts != data.catalog.texts:
                self._texts, self._vectors = data.catalog.texts, self._encoded(data.catalog.texts)
            known = met | np.array([bool(text) for text in self._texts])
        self._known = WarmItems.of(np.flatnonzero(known).astype(np.int32), data.n_items)

    def _encoded(self, texts: tuple[str, ...]) -> npt.NDArray[np.float16]:
        """(I, D): rounded once, so that what is saved is what was trained with."""
        encoder = Encoder.base(self.config.text, self.config.precision)
        out = np.zeros((len(texts), encoder.width), np.float16)
        there = [i for i, text in enumerate(texts) if text]
        out[there] = encoder.encode(
            [texts[i] for i in there], tokens=self.config.text_tokens, batch_size=64, exact=False
        )
        return out

    def _fresh(self, met: npt.NDArray[np.bool_], seed: int) -> Network:
        """An untrained network over the whole catalogue."""
        import torch

        from retrievers.sequential_model import Network

        config, vectors = self.config, self._vectors
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = Network(
                len(met),
                None if vectors is None else torch.from_numpy(vectors.astype(np.float32)),
                torch.from_numpy(met),
                size=config.size,
                layers=config.layers,
                heads=config.heads,
                dropout=config.dropout,
                length=config.length,
                gaps=config.gaps,
            )
        network.eval()
        return network

    def _train(
        self,
        data: Dataset,
        recipe: SequentialTraining,
        held: Held | None,
        steps: int | None,
        rng: np.random.Generator,
        context: FitContext,
    ) -> int:
        from retrievers.sequential_training import full_ndcg, train

        def ndcg(held: Held) -> float:
            self._table = None
            return full_ndcg(self._scores, self._known.columns, held)

        config = self.config.model_copy(update={"train": recipe})
        kept = train(
            self._network,
            data,
            recipe,
            length=config.length,
            precision=config.precision,
            identity=config.model_dump(mode="json"),
            evaluate=None if held is None else lambda: ndcg(held),
            steps=steps,
            seed=int(rng.integers(2**31)),
            context=context,
            name=self.name,
            text_only=recipe.text_only,
        )
        self._table, self._warm = None, self._known
        return kept

    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        block = self._scores(queries)
        top = block.max(axis=1, keepdims=True)
        block -= top + np.log(np.exp(block - top).sum(axis=1, keepdims=True))
        return block

    def _scores(self, queries: Queries) -> npt.NDArray[np.float32]:
        """(Q, W) logits; each history holds a known item."""
        import torch

        from retrievers.sequential_batches import recent

        network, config = self._network, self.config
        device = network.free.device  # the GPU's, while training there
        out = np.empty((len(queries), len(self._known)), np.float32)
        with torch.inference_mode():
            whole = network.table()
            if self._table is None:
                self._table = whole.cpu().numpy()[self._known.items]
            for start in range(0, len(queries), config.batch_size):
                part = queries.take(np.arange(start, min(start + config.batch_size, len(queries))))
                batch = recent(part, self._known.columns >= 0, config.length)
                with timed("transformer"):
                    items, gaps = (
                        torch.from_numpy(a).to(device) for a in (batch.items, batch.gaps)
                    )
                    states = network(items, gaps, whole)
                    ends = torch.from_numpy(batch.lengths - 1).to(device)
                    last = states[torch.arange(len(part), device=device), ends].cpu().numpy()
                out[start : start + len(part)] = last @ self._table.T
                self._count(batch.items.shape)
        return out

    def _count(self, shape: tuple[int, ...]) -> None:
        rows, width = shape
        size, layers = self.config.size, self.config.layers
        flops = (
            linear_flops(rows * width, layers * 12 * size**2)
            + attention_flops(rows * width * width, size, layers)
            + linear_flops(rows, size * len(self._known))
        )
        count(tokens=rows * width, flops=flops, passes=1)

    def save(self, folder: Path) -> None:
        """Safetensors of the network and of the texts' vectors, and a JSON file."""
        known = self._fitted()
        state = {k: v.detach().numpy() for k, v in self._network.state_dict().items()}
        write_arrays(folder / "network.safetensors", state)
        arrays = {"known": known.items}
        if self._vectors is not None:
            write_arrays(folder / "texts.safetensors", {"vectors": self._vectors})
        write_arrays(folder / "items.safetensors", arrays)
        write_json(folder / "sequential.json", {"steps": self._steps})

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        import torch

        if self.config.text is not None:
            self._texts = data.catalog.texts
            self._vectors = read_arrays(folder / "texts.safetensors")["vectors"]
        state = read_arrays(folder / "network.safetensors")
        self._network = self._fresh(np.zeros(data.n_items, bool), 0)
        self._network.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        self._steps = int(read_json(folder / "sequential.json")["steps"])
        self._table = None
        items = read_arrays(folder / "items.safetensors")["known"]
        self._warm = self._known = WarmItems.of(items, data.n_items)
