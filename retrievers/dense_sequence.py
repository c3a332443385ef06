"""A user as a sequence: what is trained on top of a sentence encoder, and asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.data.dataset import Dataset
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.work import attention_flops, count, linear_flops
from retrievers.dense_sequence_config import SequenceSettings
from retrievers.dense_store import CHUNK, VectorStore
from retrievers.encoder import Precision, unit
from retrievers.linear import WarmItems
from retrievers.sequential_config import NextItemTraining

if TYPE_CHECKING:
    from retrievers.dense_sequence_model import TextNetwork
    from retrievers.sequential_training import Held

__all__ = ["Sequence", "Run", "held_out"]

_AT_ONCE = 256  # users read in one pass


@dataclass(frozen=True, slots=True)
class Run:
    """Whose training it is.

    Attributes:
        name: of the model.
        precision: of training.
        encoder: digest of what made the texts' vectors.
        context: seeds, bar, and where checkpoints go.
    """

    name: str
    precision: Precision
    encoder: str
    context: FitContext


def held_out(
    settings: SequenceSettings, data: Dataset, warm: WarmItems, rng: np.random.Generator
) -> tuple[Dataset, Held | None]:
    """The events that encoder and sequence may learn from, and those the latter is stopped on.

    Events of items that are not ``warm`` are left out.
    """
    from retrievers.sequential_training import hold_out

    readable = data.where(warm.columns[data.interactions.items] >= 0)
    held = hold_out(readable, settings.train.validation_users, rng)
    return (readable, None) if held is None else (held.train, held)


class Sequence:
    """A `retrievers.dense_sequence_model.TextNetwork` and how far it was trained.

    Attributes:
        steps: that helped fit.
    """

    def __init__(self, network: TextNetwork, settings: SequenceSettings, steps: int = 0) -> None:
        self._network, self._settings, self.steps = network, settings, steps

    @classmethod
    def fresh(
        cls, settings: SequenceSettings, texts: npt.NDArray[Any], seed: int, steps: int = 0
    ) -> Sequence:
        """Untrained, over the vectors (W, D) of some texts; ``steps`` = what helped another."""
        import torch

        from retrievers.dense_sequence_model import TextNetwork

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = TextNetwork(
                torch.from_numpy(np.array(texts, np.float32)),
                size=settings.size,
                layers=settings.layers,
                heads=settings.heads,
                dropout=settings.dropout,
                length=settings.length,
                gaps=settings.gaps,
            )
        return cls(network.eval(), settings, steps)

    @classmethod
    def fitted(
        cls,
        settings: SequenceSettings,
        texts: npt.NDArray[Any],
        events: Dataset,
        warm: WarmItems,
        held: Held | None,
        run: Run,
    ) -> Sequence:
        """Trained from scratch, as long as the recipe says.

        Args:
            settings: of the network and its training.
            texts: (W, D) vectors of the texts of ``warm``.
            events: to learn from, each of an item of ``warm``, as `held_out` gives them.
            warm: rising.
            held: what to stop early on.
            run: whose training this is.
        """
        seed = int(run.context.rng(f"{run.name}.sequence").integers(2**31))
        out = cls.fresh(settings, texts, seed)
        out.steps = out._train(settings.train, texts, events, warm, held, None, run)
        return out

    def refitted(
        self, texts: npt.NDArray[Any], data: Dataset, warm: WarmItems, run: Run
    ) -> Sequence:
        """Trained on the newer events too, as ``train.refit`` says; nothing is held out."""
        out, recipe, steps = self, self._settings.train, self.steps
        if recipe.refit == "scratch":
            seed = int(run.context.rng(f"{run.name}.sequence.refit").integers(2**31))
            out = self.fresh(self._settings, texts, seed, steps)
        else:
            recipe = recipe.model_copy(update={"learning_rate": recipe.refit_learning_rate})
            steps = round(recipe.refit_share * steps)
        readable = data.where(warm.columns[data.interactions.items] >= 0)
        out._train(recipe, texts, readable, warm, None, steps, run)
        return out

    def _train(
        self,
        recipe: NextItemTraining,
        texts: npt.NDArray[Any],
        events: Dataset,
        warm: WarmItems,
        held: Held | None,
        steps: int | None,
        run: Run,
    ) -> int:
        import torch

        from retrievers.sequential_training import full_ndcg, train

        network, context = self._network, run.context
        settings = self._settings.model_copy(update={"train": recipe})

        def ndcg(held: Held) -> float:
            with torch.inference_mode():
                table: npt.NDArray[np.float32] = network.table().float().cpu().numpy()

            def scores(queries: Queries) -> npt.NDArray[np.float32]:
                rows = warm.columns[queries.history.values]
                block: npt.NDArray[np.float32] = self._states(queries, rows, table) @ table.T
                return block

            return full_ndcg(scores, warm.columns, held)

        network.texts = torch.from_numpy(np.array(texts, np.float32))
        kept = train(
            network,
            events,
            recipe,
            length=settings.length,
            precision=run.precision,
            identity=[settings.model_dump(mode="json"), run.encoder],
            evaluate=None if held is None else lambda: ndcg(held),
            steps=steps,
            seed=int(context.rng(f"{run.name}.sequence.draws").integers(2**31)),
            context=context,
            name=f"{run.name} sequence",
            columns=warm.columns,
        )
        network.texts = network.texts[:1].clone()  # only training reads them
        return kept

    def items(self, texts: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(N, size) unit vectors of items whose texts have these (N, D) vectors."""
        import torch

        out = np.empty((len(texts), self._settings.size), np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), CHUNK):
                part = torch.from_numpy(np.asarray(texts[start : start + CHUNK], np.float32))
                out[start : start + CHUNK] = self._network.embedded(part).numpy()
        return out

    def users(
        self, queries: Queries, warm: WarmItems, store: VectorStore
    ) -> npt.NDArray[np.float32]:
        """(Q, size) unit vectors of what comes next.

        Args:
            queries: each of one event at least, all of items that have a column.
            warm: the row of each item in ``store``.
            store: the items' projected vectors; only those of the histories are read.
        """
        # one event more than is read: the time since it is known
        queries = queries.newest(self._settings.length + 1)
        there, rows = np.unique(warm.columns[queries.history.values], return_inverse=True)
        return unit(self._states(queries, rows, store.take(there)))

    def _states(
        self,
        queries: Queries,
        rows: npt.NDArray[np.integer[Any]],
        table: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.float32]:
        """(Q, size): the last state of each history; ``rows`` (H,) are its events in ``table``."""
        import torch

        from retrievers.sequential_batches import recent

        network, settings = self._network, self._settings
        device = network.projection.weight.device  # the GPU's, while training there
        queries = replace(queries, history=Ragged(queries.history.offsets, rows.astype(np.int32)))
        known, out = np.ones(len(table), bool), np.empty((len(queries), settings.size), np.float32)
        with torch.inference_mode():
            vectors = torch.from_numpy(table).to(device)
            for start in range(0, len(queries), _AT_ONCE):
                part = queries.take(np.arange(start, min(start + _AT_ONCE, len(queries))))
                batch = recent(part, known, settings.length)
                items, gaps = (torch.from_numpy(a).to(device) for a in (batch.items, batch.gaps))
                states = network(items, gaps, vectors)
                ends = torch.from_numpy(batch.lengths - 1).to(device)
                last = states[torch.arange(len(part), device=device), ends]
                out[start : start + len(part)] = last.float().cpu().numpy()
                self._count(batch.items.shape)
        return out

    def _count(self, shape: tuple[int, ...]) -> None:
        rows, width = shape
        size, layers = self._settings.size, self._settings.layers
        flops = linear_flops(rows * width, layers * 12 * size**2)
        flops += attention_flops(rows * width * width, size, layers)
        count(tokens=rows * width, flops=flops, passes=1)

    def save(self, folder: Path) -> None:
        """Safetensors of the network without the texts' vectors, and a JSON file."""
        state = {k: v.detach().numpy() for k, v in self._network.state_dict().items()}
        write_arrays(folder / "sequence.safetensors", state)
        write_json(folder / "sequence.json", {"steps": self.steps})

    @classmethod
    def load(cls, folder: Path, settings: SequenceSettings, width: int) -> Sequence:
        """What `save` wrote.

        Args:
            width: D, of the encoder's vectors.
        """
        import torch

        out = cls.fresh(settings, np.zeros((1, width), np.float32), 0)
        state = read_arrays(folder / "sequence.safetensors")
        out._network.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        out.steps = int(read_json(folder / "sequence.json")["steps"])
        return out
