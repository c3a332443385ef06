"""The order of a user's events: timestamp, then a hash; never item id, never file order.

Publishers' files are often sorted by item id inside a tie, so breaking ties by id or by position
leaks the answer or distorts it. ``blake2b(f"{user_id}\\t{item_id}", digest_size=8)`` is blind to
both and the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

__all__ = ["ORDER_RULE", "event_order", "tie_key"]

ORDER_RULE = "timestamp, then blake2b(user_id TAB item_id, digest_size=8)"


def tie_key(user_id: str, item_id: str) -> int:
    """The 64-bit tie breaker of one event.

    >>> tie_key("1", "318") == tie_key("1", "318") != tie_key("1", "319")
    True
    """
    digest = blake2b(f"{user_id}\t{item_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def event_order(
    users: npt.NDArray[np.int32],
    times: npt.NDArray[np.float64],
    user_ids: Sequence[str],
    item_ids: Sequence[str],
) -> npt.NDArray[np.int64]:
    """(n,) int64: the rows sorted by user, then timestamp, then `tie_key`.

    Args:
        users: (n,) int32 user_index of each event.
        times: (n,) float64 seconds; all NaN where the data has no time.
        user_ids: n external user ids, aligned.
        item_ids: n external item ids, aligned.
    """
    keys = np.fromiter(
        (tie_key(u, i) for u, i in zip(user_ids, item_ids, strict=True)),
        dtype=np.uint64,
        count=len(users),
    )
    return np.lexsort((keys, np.nan_to_num(times, nan=0.0), users))
