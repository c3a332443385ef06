"""A progress bar over bytes, for what takes longer than a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["byte_progress"]

#: work on less than this many bytes ends before a bar could be read
_SMALL = 32 * 2**20


@contextmanager
def byte_progress(
    label: str, total: int | None, *, show: bool = True, small: int = _SMALL
) -> Iterator[Callable[[int], None]]:
    """Yield ``update(done)``, to be called with the number of bytes done so far.

    Args:
        label: what is being worked on.
        total: bytes in all, or None where it is not known.
        show: False turns the bar off.
        small: no bar for fewer bytes than this.
    """
    if not show or (total is not None and total < small):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    name = TextColumn("{task.description}")
    columns = (name, BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)
