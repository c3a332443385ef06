"""The lists of many users as one Parquet file: written in parts, joined at the end.

Parts stand in a hidden folder beside the target, each complete when it bears its name. A run that
was killed leaves them; the same run again finds them by its key, checks that they are of the same
users, and goes on behind them. Nothing stands under the target's name before everything is there.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusion.errors import ArtifactError, DataError, explain
from fusion.serving.batching import Batch, Tally
from fusion.serving.presenting import ListTables, about_of, lists_schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BatchSummary", "checked_file", "key_of", "write_lists"]

#: a part is complete at so many rows or after so many seconds, whichever comes first: what a
#: killed run loses, what is held in memory, and the size of the file's row groups
PART_ROWS = 1 << 16
PART_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What a run over many users wrote.

    Attributes:
        path: the Parquet file.
        users: how many were answered.
        rows: of the file.
        resumed: of the users, how many an earlier run that was killed had answered.
        seconds: of this run.
        failed: model -> ``reason`` and ``users``, for how many it was left out.
        removed: rule -> how many items it took out.
    """

    path: Path
    users: int
    rows: int
    resumed: int
    seconds: float
    failed: Mapping[str, Mapping[str, Any]]
    removed: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "path": str(self.path),
            "users": self.users,
            "rows": self.rows,
            "resumed": self.resumed,
            "seconds": round(self.seconds, 3),
            "failed": {name: dict(seen) for name, seen in self.failed.items()},
            "removed": dict(self.removed),
        }


def checked_file(path: str | Path) -> Path:
    """``path``, absolute, if a Parquet file can stand there.

    Raises:
        DataError: another ending, or a folder.
    """
    file = Path(path)
    if file.suffix != ".parquet" or file.is_dir():
        expected = "a file name that ends in .parquet"
        raise DataError(explain("recommend_many, out", expected, repr(str(path))))
    return file.absolute()


def key_of(*meaning: Any) -> str:
    """16 hexadecimal digits of what decides the lists of a user."""
    return blake2b(json.dumps(meaning).encode("utf-8"), digest_size=8).hexdigest()


def write_lists(
    path: Path,
    key: str,
    user_ids: Iterable[str],
    answers: Callable[[Iterable[str], int], Iterator[Batch]],
    tables: ListTables,
    advance: Callable[[int], object],
) -> BatchSummary:
    """Write the lists of ``user_ids`` to ``path`` (absolute).

    Args:
        key: what else decides the lists (the engine, its data, k); parts of another are not used.
        answers: the users that are left and how many there were before them -> their batches.
        tables: makes the rows of a batch.
        advance: called with numbers of users that are done.

    Raises:
        ArtifactError: the disk refuses.
    """
    start = time.perf_counter()
    try:
        parts = _Parts(path, key)
        left = parts.resume(iter(user_ids))
        resumed = parts.users
        advance(resumed)
        held: list[pa.Table] = []
        users, rows, tally, since = list[str](), 0, Tally(), time.perf_counter()
        for batch in answers(left, resumed):
            table = tables.of(batch.users, batch.top)
            held.append(table)
            users += batch.users
            rows += table.num_rows
            tally.add(batch.tally)
            advance(len(batch.users))
            if rows >= PART_ROWS or time.perf_counter() - since >= PART_SECONDS:
                parts.add(held, users, tally)
                held, users, rows, tally = [], [], 0, Tally()
                since = time.perf_counter()
        if users:
            parts.add(held, users, tally)
        parts.join(path)
    except OSError as error:
        if isinstance(error, ArtifactError):
            raise
        expected = "a file that can be written"
        raise ArtifactError(explain(f"recommend_many, {path}", expected, str(error))) from error
    spent = time.perf_counter() - start
    total = parts.tally
    return BatchSummary(path, parts.users, parts.rows, resumed, spent, total.failed, total.removed)


class _Parts:
    """The parts of one run, in the order of its users.

    Args:
        path: the target.
        key: of the run; a folder that runs with other keys left is removed.
    """

    def __init__(self, path: Path, key: str) -> None:
        name = f".{path.name}.parts-"
        self._folder = path.with_name(f"{name}{key}")
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob(f"{escape(name)}*"):
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        self._folder.mkdir(exist_ok=True)
        self._done: list[Path] = []
        self.users = self.rows = 0
        self.tally = Tally()

    def resume(self, user_ids: Iterator[str]) -> Iterator[str]:
        """Take over the parts that begin with the same users; those who are left."""
        while True:
            file = self._file(len(self._done))
            about = _read_about(file)
            if about is None:
                break
            these = list(islice(user_ids, about["users"]))
            if len(these) != about["users"] or _digest(these) != about["digest"]:
                user_ids = chain(these, user_ids)
                break
            self._took(file, about)
        for file in self._folder.iterdir():
            if file not in self._done:
                file.unlink()
        return user_ids

    def add(self, tables: Sequence[pa.Table], users: Sequence[str], tally: Tally) -> None:
        """Write one more part."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.concat_tables(tables)
        about = {
            "users": len(users),
            "digest": _digest(users),
            "rows": table.num_rows,
            **tally.to_json(),
        }
        file = self._file(len(self._done))
        aside = file.with_suffix(".tmp")
        pq.write_table(table.replace_schema_metadata({"recfusion": json.dumps(about)}), aside)
        aside.replace(file)
        self._took(file, about)

    def join(self, path: Path) -> None:
        """Make ``path`` the file of all parts, and remove them."""
        import pyarrow.parquet as pq

        aside = self._folder / "whole.tmp"
        with pq.ParquetWriter(aside, lists_schema().with_metadata(about_of(self.tally))) as writer:
            for group in self._groups():
                writer.write_table(group)
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        aside.replace(path)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _groups(self) -> Iterator[pa.Table]:
        """The parts' rows; small parts, as a slow run leaves them, are put together."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        held: list[pa.Table] = []
        for file in self._done:
            held.append(pq.read_table(file).replace_schema_metadata())
            if sum(table.num_rows for table in held) >= PART_ROWS:
                yield pa.concat_tables(held).combine_chunks()
                held = []
        if held:
            yield pa.concat_tables(held).combine_chunks()

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"

    def _took(self, file: Path, about: Mapping[str, Any]) -> None:
        self._done.append(file)
        self.users += about["users"]
        self.rows += about["rows"]
        self.tally.add(Tally(about["failed"], about["removed"]))


def _read_about(file: Path) -> dict[str, Any] | None:
    """What a part says of itself; ``None`` where there is none, or none that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about: dict[str, Any] = json.loads(pq.read_schema(file).metadata[b"recfusion"])
        return about
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _digest(users: Sequence[str]) -> str:
    digest = blake2b(digest_size=16)
    for user in users:
        # what is no text is refused later, when it is looked up
        name = (user if isinstance(user, str) else repr(user)).encode("utf-8", "surrogatepass")
        digest.update(len(name).to_bytes(8, "little"))
        digest.update(name)
    return digest.hexdigest()
