"""`ManyUsers`: answers many users at once, into a table or a file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sized
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from fusion._version import __version__
from fusion.progress import bar
from fusion.serving.batching import Batch, Tally, answered, whom
from fusion.serving.lists_file import BatchSummary, checked_file, key_of, write_lists
from fusion.serving.presenting import ListTables
from fusion.serving.requests import checked_k
from fusion.serving.service import Service

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ManyUsers"]

log = logging.getLogger(__name__)


class ManyUsers(Service):
    """A service that is asked for many users at once too; see `fusion.engine.Engine`."""

    @overload
    def recommend_many(
        self,
        user_ids: Iterable[str] | None = None,
        k: int = 10,
        *,
        out: None = None,
        exclude_seen: bool | None = None,
        progress: bool = False,
        batch: int = 256,
        ahead: int = 1,
    ) -> pa.Table: ...

    @overload
    def recommend_many(
        self,
        user_ids: Iterable[str] | None = None,
        k: int = 10,
        *,
        out: str | Path,
        exclude_seen: bool | None = None,
        progress: bool = False,
        batch: int = 256,
        ahead: int = 1,
    ) -> BatchSummary: ...

    def recommend_many(
        self,
        user_ids: Iterable[str] | None = None,
        k: int = 10,
        *,
        out: str | Path | None = None,
        exclude_seen: bool | None = None,
        progress: bool = False,
        batch: int = 256,
        ahead: int = 1,
    ) -> pa.Table | BatchSummary:
        """The ``k`` best items for each of many users.

        The columns are user_id (string), item_id (string), score (float64) and rank (int32, from
        1); users stand in the order given, best items first. The schema's metadata ``recfusion``
        is JSON: ``failed`` (model -> reason and how many users it failed for) and ``removed`` (rule
        -> how many items it took out).

        Args:
            user_ids: any iterable of users, read as it is needed; ``None`` = all of the data (who
                has no event is left out where no fallback is configured).
            k: how many items a user.
            out: write a Parquet file, a path that ends in ``.parquet``, in memory that does not
                grow with the users. It stands there when it is complete. After a run that was
                killed, the same call goes on behind what was finished, in a hidden folder beside
                ``out``; with steps that explore, its chance then depends on the seed and the
                place in ``user_ids`` only.
            exclude_seen: leave out the items of the history (default: as configured).
            progress: show a bar on standard error.
            batch: users that a model is asked for at once; bounds memory, changes no score.
            ahead: further batches that are worked on meanwhile, so that one is being retrieved and
                fused while another is in a large model; 0 = one after the other. Changes nothing
                but time and memory.

        Returns:
            The table; with ``out``, what was written.

        Raises:
            UnknownUserError, DataError, ModelError: as `recommend`.
            ArtifactError: ``out`` cannot be written.
        """
        k = checked_k(k)
        file = None if out is None else checked_file(out)
        models, state = self._ready, self._state
        exclude = state.config.exclude_seen if exclude_seen is None else exclude_seen
        asked = whom(user_ids, models, state.config.fallback)
        total = len(asked) if isinstance(asked, Sized) else None
        tables = ListTables(models.data)
        lists = partial(
            answered, models, state, k=k, exclude_seen=exclude, batch=batch, ahead=ahead
        )
        with bar("recommend", total=total, unit="users", show=progress) as advance:
            if file is None:
                parts, tally = [], Tally()
                for one in lists(asked, chance=lambda n: self._chance(state)):
                    parts.append(tables.of(one.users, one.top))
                    tally.add(one.tally)
                    advance(len(one.users))
                _warn(tally.failed)
                return tables.together(parts, tally)

            def behind(users: Iterable[str], before: int) -> Iterator[Batch]:
                return lists(users, chance=lambda n: [state.config.seed, before + n])

            key = key_of(state.hash, models.data.fingerprint, k, exclude, __version__)
            done = write_lists(file, key, asked, behind, tables, advance)
            _warn(done.failed)
            return done


def _warn(failed: Mapping[str, Mapping[str, Any]]) -> None:
    for name, seen in failed.items():
        log.warning("%s was left out for %d users: %s", name, seen["users"], seen["reason"])
