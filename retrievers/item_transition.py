"""Directed item transitions: what people went on to after the asker's newest items."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import read_arrays, write_arrays
from fusion.data.dataset import Dataset
from fusion.protocols import FitContext, RetrieverConfig
from fusion.queries import Queries
from retrievers.history import history_matrix
from retrievers.linear import BlockRetriever, WarmItems
from retrievers.sparse import read_sparse, sparse_arrays

__all__ = ["ItemTransition", "transition_counts"]


class ItemTransitionConfig(RetrieverConfig):
    """Options of `ItemTransition`; the defaults of the powers were chosen on validation events."""

    gap: int = Field(10, ge=1, description="how many steps apart two events may be")
    decay: float = Field(0.8, gt=0, le=1, description="weight a step of gap")
    backward: float = Field(
        0.2,
        ge=0,
        le=1,
        description="how much a transition also counts the other way round; the order of events "
        "of one time stamp means nothing, so a strictly directed count wastes them",
    )
    source_power: float = Field(
        0.7, ge=0, le=1, description="0 = counts as they are, 1 = shares of what left the source"
    )
    target_power: float = Field(
        0.15, ge=0, le=1, description="how far the target's popularity is taken out"
    )
    shrink: float = Field(
        10.0, ge=0, description="added to both totals: rare items need more evidence"
    )


class ItemTransition(BlockRetriever):
    """Counts of item ``j`` after item ``i``, decayed over the gap, summed over the newest events.

    ``C[i, j]`` is the sum over the users of ``decay ** (gap - 1)`` wherever ``j`` came ``gap``
    events after ``i``, plus ``backward`` times the same of ``C[j, i]``. With the row totals ``r``
    and the column totals ``c``::

        T[i, j] = C[i, j] / ((r_i + shrink) ** source_power * (c_j + shrink) ** target_power)
        score(j) = sum over the newest `gap` events h of decay ** steps_ago(h) * T[h, j]

    A query at its next event stands ``steps_ago + 1`` from each event of its history, so the
    weights of asking are those of counting.
    """

    Config: ClassVar[type[ItemTransitionConfig]] = ItemTransitionConfig

    _transitions: Any  # (W, W) float32 csr_array: from an item of the history to a candidate

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Count and scale the transitions."""
        from scipy.sparse import diags_array

        data.require_events(self.name)
        config, events = self.config, data.interactions
        self._warm = WarmItems.of(np.flatnonzero(data.popularity).astype(np.int32), data.n_items)
        counts = transition_counts(
            events.users,
            self._warm.columns[events.items],
            len(self._warm),
            config.gap,
            config.decay,
        )
        if config.backward:
            counts = (counts + config.backward * counts.T).tocsr()
        sources = _scale(counts.sum(axis=1), config.shrink, config.source_power)
        targets = _scale(counts.sum(axis=0), config.shrink, config.target_power)
        scaled = diags_array(sources) @ counts @ diags_array(targets)
        self._transitions = scaled.tocsr().astype(np.float32)

    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        warm, config = self._fitted(), self.config
        history = history_matrix(
            queries,
            warm.columns,
            len(warm),
            half_life=None if config.decay == 1 else float(-1 / np.log2(config.decay)),
            newest=config.gap,
        )
        block: npt.NDArray[np.float32] = (history @ self._transitions).toarray()
        return block

    def save(self, folder: Path) -> None:
        """One safetensors file."""
        arrays = {"items": self._fitted().items, **sparse_arrays(self._transitions)}
        write_arrays(folder / "item_transition.safetensors", arrays)

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        arrays = read_arrays(folder / "item_transition.safetensors")
        self._warm = WarmItems.of(arrays["items"], data.n_items)
        self._transitions = read_sparse(arrays, len(self._warm))


def transition_counts(
    users: npt.NDArray[np.int32],
    columns: npt.NDArray[np.int32],
    width: int,
    gap: int,
    decay: float,
) -> Any:
    """(width, width) float64 csr_array: how often a column came after a column, decayed.

    Args:
        users: (n,) int32, every user's events together.
        columns: (n,) int32, each user's events in order.
        width: number of columns.
        gap: count up to so many steps.
        decay: an occurrence ``steps`` later counts ``decay ** (steps - 1)``.

    >>> users, columns = np.array([0, 0, 0], np.int32), np.array([2, 0, 1], np.int32)
    >>> transition_counts(users, columns, 3, gap=2, decay=0.5).toarray().tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.5, 0.0]]
    """
    from scipy.sparse import csr_array

    counts = csr_array((width, width), dtype=np.float64)
    for steps in range(1, min(gap, len(users) - 1) + 1):
        one_user = users[:-steps] == users[steps:]
        sources, targets = columns[:-steps][one_user], columns[steps:][one_user]
        weights = np.full(len(sources), decay ** (steps - 1))
        counts = counts + csr_array((weights, (sources, targets)), shape=(width, width))
    return counts


def _scale(totals: npt.NDArray[np.float64], shrink: float, power: float) -> npt.NDArray[np.float64]:
    """``(total + shrink) ** -power``, 0 where the total is 0."""
    some = totals > 0
    out = np.zeros(len(totals))
    out[some] = (totals[some] + shrink) ** -power
    return out
