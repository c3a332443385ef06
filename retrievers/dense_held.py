"""The inner validation set of dense retrieval: held-out events among a pool of items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from fusion.queries import Queries

__all__ = ["Held", "hold_out", "pool_ndcg"]

_HELD_HISTORY = 5


@dataclass(frozen=True, slots=True)
class Held:
    """The inner validation set: each user's newest event, and the rest.

    Attributes:
        train: the data set without the held-out events.
        users: (V,) int64 user_index.
        targets: (V,) int32 item_index.
        pool: (P,) int32 item_index, rising: targets, newest histories, and others drawn at random.
    """

    train: Dataset
    users: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int32]
    pool: npt.NDArray[np.int32]

    @property
    def queries(self) -> Queries:
        """What is known of ``users`` before their held-out event."""
        return self.train.queries(self.users)


def hold_out(
    data: Dataset,
    readable: npt.NDArray[np.bool_],
    users: int,
    items: int,
    rng: np.random.Generator,
) -> Held | None:
    """Hold out the newest event of ``users`` users drawn at random; ``None`` where nobody can be.

    Args:
        data: all that may be learnt from.
        readable: (I,) bool: items that have text.
        users: how many users at most.
        items: size of the pool, unless the histories and targets are more.
        rng: draws users and items.
    """
    last = data.offsets[1:] - 1
    able = np.flatnonzero(np.diff(data.offsets) >= 3)
    able = able[readable[data.interactions.items[last[able]]]]
    if users == 0 or len(able) == 0:
        return None
    chosen = np.sort(rng.choice(able, min(users, len(able)), replace=False))
    keep = np.ones(len(data), bool)
    keep[last[chosen]] = False
    train = data.where(keep)
    targets = data.interactions.items[last[chosen]]
    newest = train.queries(chosen).newest(_HELD_HISTORY).history.values
    wanted = np.unique(np.concatenate([targets, newest]))
    wanted = wanted[readable[wanted]]
    others = np.setdiff1d(np.flatnonzero(readable), wanted)
    extra = rng.choice(others, min(max(items - len(wanted), 0), len(others)), replace=False)
    pool = np.sort(np.concatenate([wanted, extra])).astype(np.int32)
    return Held(train, chosen, targets, pool)


def pool_ndcg(
    users: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    vectors: npt.NDArray[np.float32],
    columns: npt.NDArray[np.int32],
    held: Held,
) -> float:
    """NDCG@10 of the held-out events among ``held.pool``, items met before left out.

    Args:
        users: (V, D) unit vectors.
        known: (V,) whether anything is known of the user; else the event counts 0.
        vectors: (P, D) unit vectors of the pool.
        columns: (I,) the row in ``vectors`` of each item_index; -1 = not in the pool.
    """
    queries = held.queries
    scores = users @ vectors.T  # (V, P)
    seen = columns[queries.excluded.values]
    scores[queries.excluded.rows[seen >= 0], seen[seen >= 0]] = -np.inf
    target = scores[np.arange(len(scores)), columns[held.targets]]
    rank = 1 + (scores > target[:, None]).sum(axis=1)
    gains = np.where(known & (rank <= 10), 1 / np.log2(rank + 1), 0.0)
    return float(gains.mean())
