r"""The order of a user's events: timestamp, then a hash; never item id, never file order.

Publishers' files are often sorted by item id inside a tie, so breaking ties by id or by position
leaks the answer or distorts it. ``blake2b(f"{user_id}\t{item_id}", digest_size=8)`` is blind to
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
    text = f"{user_id}\t{item_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def event_order(
    users: npt.NDArray[np.int32],
    times: npt.NDArray[np.float64],
    user_ids: Sequence[str] | npt.NDArray[np.object_],
    item_ids: Sequence[str] | npt.NDArray[np.object_],
) -> npt.NDArray[np.int64]:
    """(n,) int64: the rows sorted by user, then timestamp, then `tie_key`.

    Args:
        users: (n,) int32 user_index of each event.
        times: (n,) float64 seconds; all NaN where the data has no time.
        user_ids: n external user ids, aligned (a list, or an array of objects).
        item_ids: n external item ids, aligned.
    """
    clock = np.nan_to_num(times, nan=0.0)
    order = np.lexsort((clock, users))
    if len(order) < 2:
        return order
    # hashing costs a microsecond a row, and only rows that share user and time need a tie breaker
    same = np.diff(users[order]) == 0
    same &= np.diff(clock[order]) == 0
    places = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = order[places]
    keys = np.fromiter(
        (tie_key(user_ids[row], item_ids[row]) for row in rows.tolist()),
        dtype=np.uint64,
        count=len(rows),
    )
    order[places] = rows[np.lexsort((keys, clock[rows], users[rows]))]
    return order
