"""EASE: a closed-form linear item-item model, asked with a history whose weights decay with age."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fusion.artifacts import read_arrays, write_arrays
from fusion.data.dataset import Dataset
from fusion.errors import ConfigError, explain
from fusion.protocols import FitContext, RetrieverConfig
from fusion.queries import Queries
from retrievers.history import history_matrix
from retrievers.linear import BlockRetriever, WarmItems, batches, gram_rows

__all__ = ["Ease", "ease_weights"]

log = logging.getLogger(__name__)

#: float32 has 24 bits, 1.7e7: up to here some two digits are left of the worst entry
_CONDITION = 1e5
_LOST_BY_USERS = 1e3


class EaseConfig(RetrieverConfig):
    """Options of `Ease`."""

    reg: float | None = Field(
        None,
        gt=0,
        description="lambda, the L2 penalty; more for denser data. null = twice the mean number of "
        "events of an item, and at least 50",
    )
    half_life: float | None = Field(
        5.0, gt=0, description="events after which an event of the asker counts half; null = never"
    )
    max_items: int = Field(
        20_000,
        ge=1,
        description="only so many most popular items are modelled, the others are cold: memory "
        "grows with the square (20,000 items: 1.6 GB, and as much again while saving)",
    )


class Ease(BlockRetriever):
    """Embarrassingly shallow autoencoder (Steck, 2019, arXiv:1905.03375, equations 5 to 8).

    With ``X`` the binary user-item matrix, ``P = (X'X + reg I)^-1`` and
    ``B = I - P diag(1 / diag(P))``, so that the diagonal of ``B`` is 0. The score of item ``j`` is
    ``sum over the history of w_h B[h, j]`` with ``w_h = 0.5 ** (steps ago / half_life)``; in the
    paper every ``w_h`` is 1. The matrix is learnt from binary events: letting them decay in ``X``
    too throws evidence away (validation NDCG@10 on ml-latest-small .050 instead of .078).

    The rule for ``reg: null`` gives about 50 on sparse data (ml-latest-small, Amazon Beauty) and
    about 500 on ml-1m, which is where validation put it.

    Cost: ``W**2`` floats for ``W`` warm items, ``W**3`` multiplications.
    """

    Config: ClassVar[type[EaseConfig]] = EaseConfig

    _matrix: npt.NDArray[np.float32]  # (W, W): from an item of the history to a candidate

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Solve for the item-item matrix."""
        data.require_events(self.name)
        self._warm = WarmItems.of(self._modelled(data), data.n_items)
        binary = history_matrix(data.queries(), self._warm.columns, len(self._warm), half_life=None)
        reg = self.config.reg or max(50.0, 2.0 * binary.nnz / len(self._warm))
        self._matrix = ease_weights(binary, reg)

    def _modelled(self, data: Dataset) -> npt.NDArray[np.int32]:
        met = np.flatnonzero(data.popularity).astype(np.int32)
        if len(met) > self.config.max_items:
            log.warning(
                "%s: only the %d most popular of %d items are modelled (max_items)",
                self.name, self.config.max_items, len(met),
            )  # fmt: skip
            order = np.argsort(-data.popularity[met], kind="stable")
            met = np.sort(met[order[: self.config.max_items]])
        return met

    def _block(self, queries: Queries) -> npt.NDArray[np.float32]:
        warm = self._fitted()
        history = history_matrix(queries, warm.columns, len(warm), half_life=self.config.half_life)
        block: npt.NDArray[np.float32] = history @ self._matrix
        return block

    def save(self, folder: Path) -> None:
        """One safetensors file."""
        items = self._fitted().items
        write_arrays(folder / "ease.safetensors", {"items": items, "matrix": self._matrix})

    def load(self, folder: Path, data: Dataset) -> None:
        """What `save` wrote."""
        arrays = read_arrays(folder / "ease.safetensors")
        self._warm = WarmItems.of(arrays["items"], data.n_items)
        self._matrix = arrays["matrix"]


def ease_weights(binary: Any, reg: float) -> npt.NDArray[np.float32]:
    """(W, W) float32: EASE's item-item matrix, its diagonal 0.

    With far fewer users than items the inverse follows from a system of the users' size (Woodbury's
    identity). Otherwise Cholesky and inverse are done in place in float32, so that beside the
    result only a strip is needed; a system too ill-conditioned for that (a tiny ``reg``) is solved
    in float64, at twice the memory.

    Args:
        binary: (U, W) float32 `scipy.sparse.csr_array` of 0 and 1.
        reg: above 0.

    Raises:
        ConfigError: ``reg`` is so small that the system is singular even in float64.
    """
    users, items = binary.shape
    # the greatest row sum of X'X bounds its greatest eigenvalue
    condition = float((binary.T @ binary.sum(axis=1)).max()) / reg
    inverse = None
    # 1 - x'Mx loses to cancellation the digits of (events of the item) / reg
    if 2 * users < items and float(binary.sum(axis=0).max()) < _LOST_BY_USERS * reg:
        inverse = _inverse_by_users(binary, reg)
    if inverse is None and condition < _CONDITION:
        inverse = _inverse(_regular_gram(binary, reg, np.float32))
    if inverse is None:
        inverse = _inverse(_regular_gram(binary, reg, np.float64))
    if inverse is None:
        raise ConfigError(
            explain("EASE", "a reg that makes the system solvable", f"reg={reg}", "raise it")
        )
    diagonal = inverse.diagonal().copy()
    inverse /= -diagonal  # column j by P[j, j]
    np.fill_diagonal(inverse, 0.0)
    return inverse.astype(np.float32, copy=False)


def _inverse_by_users(binary: Any, reg: float) -> npt.NDArray[np.float32] | None:
    """``(X'X + reg I)^-1 = (I - X' (X X' + reg I)^-1 X) / reg``; ``None`` where it fails."""
    small = (binary @ binary.T).toarray().astype(np.float64)  # (U, U)
    small.flat[:: len(small) + 1] += reg
    inner = _inverse(small)
    if inner is None:
        return None
    middle = binary.T.tocsr() @ inner  # (W, U)
    result: npt.NDArray[np.float32] = np.empty((binary.shape[1],) * 2, np.float32)
    columns = binary.T.tocsr()
    for rows in batches(len(result), len(result)):
        # symmetric: rows of X' M X are columns of it
        result[rows] = (columns @ middle[rows].T).T
    result *= -1.0 / reg
    result.flat[:: len(result) + 1] += 1.0 / reg
    return result


def _regular_gram(binary: Any, reg: float, dtype: Any) -> npt.NDArray[Any]:
    gram = np.empty((binary.shape[1],) * 2, dtype)
    for first, rows in gram_rows(binary):
        gram[first : first + rows.shape[0]] = rows.toarray()
    gram.flat[:: len(gram) + 1] += reg
    return gram


def _inverse(symmetric: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """The inverse of a positive definite matrix, in its own memory; ``None`` where it has none."""
    from scipy.linalg.lapack import get_lapack_funcs

    potrf, potri = get_lapack_funcs(("potrf", "potri"), (symmetric,))
    # LAPACK's column order: the transposed view of a symmetric matrix is the matrix, not copied
    factor, failed = potrf(symmetric.T, lower=False, clean=False, overwrite_a=True)
    if failed:
        return None
    result, failed = potri(factor, lower=False, overwrite_c=True)
    if failed or not np.isfinite(result.diagonal()).all():
        return None
    inverse: npt.NDArray[Any] = result.T  # its lower triangle is filled
    for start in range(0, len(inverse), 512):
        end = start + 512
        corner = inverse[start:end, start:end]
        corner[...] = np.tril(corner) + np.tril(corner, -1).T
        inverse[start:end, end:] = inverse[end:, start:end].T
    return inverse
