"""What a request costs, counted where the work is done: tokens, matrix operations, bytes, seconds.

A model says ``count(tokens=512, flops=1e9)`` or ``with timed("encode"):`` without knowing whether
anybody listens. Who wants to know opens ``with counting() as work:`` around the call. Counted work
is exact where times are noisy, so tests can watch it.

Names that the project's own models use: ``tokens`` (through a large model, padding included),
``flops`` (floating-point operations of matrix products, two for each multiply-add),
``bytes`` (read from a memory-mapped file or moved to a device), ``cache_hits`` and
``cache_misses``, ``passes`` (forward passes of a large model). Others may be added freely.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Work", "absorb", "attention_flops", "count", "counting", "linear_flops", "timed"]


@dataclass(slots=True)
class Work:
    """Amounts by name, and seconds by stage; both only grow.

    Attributes:
        counts: name -> amount.
        seconds: stage -> wall-clock seconds inside it.
    """

    counts: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, other: Work) -> None:
        """Everything that ``other`` counted, too."""
        for name, amount in other.counts.items():
            self.counts[name] = self.counts.get(name, 0.0) + amount
        for stage, spent in other.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def to_json(self) -> dict[str, Any]:
        """Plain values; seconds as milliseconds."""
        stages = {f"{stage}_ms": round(1000 * s, 3) for stage, s in self.seconds.items()}
        return {**self.counts, **stages}


#: one a thread and task; what runs in another thread is counted there and added by who sent it
_current: ContextVar[Work | None] = ContextVar("recfusion_work", default=None)


@contextmanager
def counting() -> Iterator[Work]:
    """Collect what is counted inside the ``with``; an outer one gets it too, at the end."""
    work, outer = Work(), _current.get()
    token = _current.set(work)
    try:
        yield work
    finally:
        _current.reset(token)
        if outer is not None:
            outer.add(work)


def count(**amounts: float) -> None:
    """Add ``amounts`` to what the nearest `counting` collects; nothing where nobody counts."""
    work = _current.get()
    if work is not None:
        for name, amount in amounts.items():
            work.counts[name] = work.counts.get(name, 0.0) + amount


def absorb(work: Work) -> None:
    """Add what another thread counted to what the nearest `counting` here collects."""
    current = _current.get()
    if current is not None:
        current.add(work)


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Add the seconds inside the ``with`` to ``stage``; costs nothing where nobody counts."""
    work = _current.get()
    if work is None:
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        work.seconds[stage] = work.seconds.get(stage, 0.0) + time.perf_counter() - start


def linear_flops(rows: float, weights: float) -> float:
    """Operations of ``rows`` tokens through matrices that hold ``weights`` numbers in all."""
    return 2.0 * rows * weights


def attention_flops(pairs: float, width: float, layers: float) -> float:
    """Operations of scores and of weighted values for ``pairs`` (query token, key token).

    Args:
        pairs: as computed in one layer, masked ones included.
        width: heads times the size of a head.
        layers: how many layers do so.
    """
    return 4.0 * pairs * width * layers
