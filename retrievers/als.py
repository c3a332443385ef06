"""ALS: matrix factorisation of implicit feedback, asked with factors solved from the history."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import read_arrays, write_arrays
from fusion.data.dataset import Dataset
from fusion.errors import DependencyError, explain
from fusion.protocols import FitContext, RetrieverConfig
from fusion.queries import Queries
from retrievers.history import history_matrix
from retrievers.linear import BlockRetriever, WarmItems

__all__ = ["Als"]


class AlsConfig(RetrieverConfig):
    """Options of `Als`; the defaults were chosen on validation events."""

    factors: int = Field(128, ge=1, description="length of a user's and an item's vector")
    regularization: float = Field(
        100.0, gt=0, description="lambda, the L2 penalty on the vectors of users and items"
    )
    alpha: float = Field(
        40.0, gt=0, description="how much surer an event is than its absence: confidence 1 + alpha"
    )
    iterations: int = Field(15, ge=1, description="rounds of solving for all users, then all items")
    half_life: float | None = Field(
        2.0,
        gt=0,
        description="events after which alpha of an event of the asker halves; null = never",
    )


class Als(BlockRetriever):
    """Alternating least squares for implicit feedback (Hu, Koren and Volinsky, ICDM 2008).

    With the confidence ``c = 1 + alpha`` of an event and 1 of its absence, the vectors ``x`` of
    users and ``y`` of items minimise ``sum c (p - x'y)^2 + regularization (|x|^2 + |y|^2)``, where
    ``p`` is 1 for an event, else 0. The package `implicit` alternates between both sides, with
    three steps of conjugate gradient each (Takács, Pilászy and Tikk, RecSys 2011).

    Vectors of users are not kept: whoever asks, known or not, is solved for exactly from the
    history, ``x = (Y'CY + regularization I)^-1 Y'Cp``, and ``score(j) = x'y_j``. There the
    confidence of an event decays, ``1 + alpha * 0.5 ** (steps ago / half_life)``, as the history of
    `retrievers.ease.Ease` does; in the paper it does not. The factors are learnt from events that
    all count the same.

    Cost: ``(users + items) * factors^2`` plus ``events * factors`` a step of an iteration.

    Raises:
        DependencyError: `implicit` is not installed.
    """

    Config: ClassVar[type[AlsConfig]] = AlsConfig

    _items: npt.NDArray[np.float32]  # (W, F)
    _solver: Any = None  # an `implicit` model that holds them

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Factorise the binary matrix of users and items."""
        data.require_events(self.name)
        self._warm = WarmItems.of(np.flatnonzero(data.popularity).astype(np.int32), data.n_items)
        users = np.flatnonzero(np.diff(data.offsets))
        binary = history_matrix(
            data.queries(users), self._warm.columns, len(self._warm), half_life=None
        )
        seed = int(context.rng(self.name).integers(2**31))
        with _one_blas_thread():
            model = self._implicit(seed)
            model.fit(self._confidence(binary), show_progress=context.progress)
        self._take(model.item_factors)

    def _take(self, items: npt.NDArray[np.float32]) -> None:
        """Take the items' vectors (W, F)."""
        self._items = items
        with _one_blas_thread():
            self._solver = self._implicit(0)
            self._solver.item_factors = items
            _ = self._solver.YtY  # computed here once, not by whichever request comes first

    def _implicit(self, seed: int) -> Any:
        try:
            from implicit.cpu.als import AlternatingLeastSquares
        except ImportError as error:
            do = "pip install recfusion[als]"
            raise DependencyError(explain("als", "implicit", "no such package", do)) from error
        config = self.config
        return AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.regularization,
            alpha=1.0,  # `implicit` takes c for its input, not c - 1: see `_confidence`
            iterations=config.iterations,
            num_threads=_threads(),
            random_state=seed,
        )

    def _confidence(self, weights: Any) -> Any:
        """``1 + alpha w`` at every event, as `implicit` wants it."""
        from scipy.sparse import csr_matrix

        data = np.float32(1) + np.float32(self.config.alpha) * weights.data
        where = (weights.indices.astype(np.int32), weights.indptr.astype(np.int32))
        return csr_matrix((data, *where), shape=weights.shape)

    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        warm = self._fitted()
        history = history_matrix(queries, warm.columns, len(warm), half_life=self.config.half_life)
        asked = np.arange(len(queries))
        vectors = self._solver.recalculate_user(asked, self._confidence(history))  # (Q, F)
        block: npt.NDArray[np.float32] = vectors @ self._items.T
        return block

    def save(self, folder: Path) -> None:
        """One safetensors file."""
        arrays = {"items": self._fitted().items, "factors": self._items}
        write_arrays(folder / "als.safetensors", arrays)

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        arrays = read_arrays(folder / "als.safetensors")
        self._warm = WarmItems.of(arrays["items"], data.n_items)
        self._take(arrays["factors"])


def _threads() -> int:
    """Threads for `implicit`, which would take every core, whatever this process may use."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _one_blas_thread() -> Any:
    """Hold BLAS to one thread: `implicit` has its own around it, and warns of threads in threads.

    The order of a sum then does not depend on the machine either.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")
