"""Progress for people: one line a stage, a bar on what is long; nothing when nobody looks.

Everything goes to standard error, so that ``--json`` on standard output stays clean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["bar", "stage", "track"]

T = TypeVar("T")


def track(items: Iterable[T], description: str, *, total: int, show: bool) -> Iterator[T]:
    """``items``, under a bar of ``total`` steps when ``show``."""
    if not show:
        yield from items
        return
    from tqdm import tqdm

    # a bar that ends within a second would only flicker
    yield from tqdm(items, desc=description, total=total, delay=1.0, leave=False)


@contextmanager
def bar(
    description: str, *, total: int | None, unit: str, show: bool
) -> Iterator[Callable[[int], object]]:
    """A bar that the function it gives moves by a number of ``unit``; it shows how many a second.

    Args:
        total: how many there will be; ``None`` = nobody knows.
    """
    if not show:
        yield lambda n: None
        return
    from tqdm import tqdm

    with tqdm(desc=description, total=total, unit=f" {unit}", delay=1.0, leave=False) as shown:
        yield shown.update


@contextmanager
def stage(description: str, *, show: bool) -> Iterator[None]:
    """Say when a stage begins, and how long it took."""
    if not show:
        yield
        return
    from rich.console import Console

    console = Console(stderr=True)
    start = time.perf_counter()
    console.print(f"▸ {description}", highlight=False, markup=False)
    yield
    console.print(f"  {time.perf_counter() - start:.1f} s", style="dim", highlight=False)
