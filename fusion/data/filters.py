"""k-core: the largest part of a data set where every user and every item has enough events."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Catalog, Dataset, Interactions
from fusion.data.vocabulary import Vocabulary
from fusion.errors import DataError, explain

__all__ = ["k_core"]


def k_core(data: Dataset, k_user: int, k_item: int | None = None) -> Dataset:
    """Keep users with at least ``k_user`` events and items with at least ``k_item``, repeatedly.

    Leaving out a user takes events from items and the other way round, so the rule is applied
    until nothing falls any more; the result is unique, whatever is left out first (Seidman,
    "Network structure and minimum degree", Social Networks 5, 1983, for graphs).

    Users and items that fall leave the vocabularies and the catalogue too: the result is a data
    set of its own, equal to the one built from the remaining rows.

    Args:
        data: events; a (user, item) pair stands once.
        k_user: fewest events of a user, 1 or more; 1 keeps every user with an event.
        k_item: fewest events of an item, 0 or more; 0 keeps items without any event in the
            catalogue. Default: ``k_user``.

    Returns:
        A new data set; ``report`` counts ``k_core_users``, ``k_core_items`` and
        ``k_core_interactions`` that were left out.

    Raises:
        DataError: nothing is left.
    """
    k_item = k_user if k_item is None else k_item
    if k_user < 1 or k_item < 0:
        raise DataError(explain("k_core", "k_user >= 1 and k_item >= 0", f"{k_user} and {k_item}"))
    events = data.interactions
    keep = np.ones(len(events), dtype=bool)
    while True:
        per_user = np.bincount(events.users[keep], minlength=data.n_users)
        per_item = np.bincount(events.items[keep], minlength=data.n_items)
        stays = keep & (per_user >= k_user)[events.users] & (per_item >= k_item)[events.items]
        if stays.sum() == keep.sum():
            break
        keep = stays
    if not keep.any():
        raise DataError(
            explain(
                "k_core", f"some users with {k_user} and items with {k_item} events",
                f"none in {len(events):,} interactions", "use smaller numbers",
            )
        )  # fmt: skip
    return _compact(data, keep, per_user > 0, per_item >= k_item)


def _compact(
    data: Dataset,
    keep: npt.NDArray[np.bool_],
    users: npt.NDArray[np.bool_],
    items: npt.NDArray[np.bool_],
) -> Dataset:
    """``data`` with only the events, users and items of the masks; the order of each is kept."""
    catalog, events = data.catalog, data.interactions.take(keep)
    left_out = {
        "k_core_users": int((~users).sum()),
        "k_core_items": int((~items).sum()),
        "k_core_interactions": int((~keep).sum()),
    }
    return Dataset(
        Vocabulary("user", _kept(data.users.ids, users)),
        Catalog(
            Vocabulary("item", _kept(catalog.ids, items)),
            _kept(catalog.texts, items),
            _kept(catalog.titles, items),
            {name: _kept(values, items) for name, values in catalog.fields.items()},
        ),
        Interactions(
            (np.cumsum(users) - 1).astype(np.int32)[events.users],
            (np.cumsum(items) - 1).astype(np.int32)[events.items],
            events.times,
            events.ratings,
        ),
        {**data.report, **left_out},
    )


def _kept(values: Sequence[Any], mask: npt.NDArray[np.bool_]) -> tuple[Any, ...]:
    return tuple(compress(values, mask))
