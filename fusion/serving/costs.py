"""What each model costs: milliseconds of a retrieval, and of scoring, as measured.

The prediction is the 95th percentile of the latest calls, since a deadline is missed by the slow
ones and not by the average. A score's cost grows with its candidates, a retrieval's does not.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Costs"]

#: calls a model is judged by; older ones are forgotten, so that a change of load is followed
RECENT = 64
#: weight of the newest call in the average of how many rows a request has
NEWEST = 0.1
#: requests that go on without a model before its dearest call is forgotten
PATIENCE = 10


def _p95(values: Iterable[float]) -> float:
    """The 95th percentile, as `numpy.percentile` has it; of few numbers this is 20x as quick."""
    ranked = sorted(values)
    place = 0.95 * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


class _Meter:
    """The latest calls of one kind to one model."""

    def __init__(self) -> None:
        self.ms: deque[float] = deque(maxlen=RECENT)
        self.rows: deque[int] = deque(maxlen=RECENT)
        self.usual = 0.0  # rows a call, an exponential average
        self.passed = 0
        self._known: tuple[float, float, float] | None = None

    def add(self, rows: int, ms: float) -> None:
        self.usual = rows if not self.ms else (1 - NEWEST) * self.usual + NEWEST * rows
        self.ms.append(ms)
        self.rows.append(rows)
        self._known = None

    def relax(self) -> None:
        self.passed += 1
        if self.passed % PATIENCE == 0 and len(self.ms) > 1:
            dearest = self.ms.index(max(self.ms))
            del self.ms[dearest], self.rows[dearest]
            self._known = None

    def predict(self, rows: float | None) -> float:
        """A straight line from the cheapest call to the 95th percentile of cost a row."""
        if self._known is None:
            each = [ms / max(n, 1) for ms, n in zip(self.ms, self.rows, strict=True)]
            self._known = min(self.ms), _p95(self.ms), _p95(each)
        least, whole, a_row = self._known
        return whole if rows is None else max(least, a_row * rows)


class Costs:
    """Measured costs of an engine's models; safe to share between threads."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], _Meter] = {}
        self._lock = threading.Lock()

    def add(self, model: str, kind: str, rows: int, ms: float) -> None:
        """One call: ``kind`` is ``retrieve``, ``score`` or ``fuse``; ``rows`` as asked."""
        with self._lock:
            self._meters.setdefault((model, kind), _Meter()).add(rows, ms)

    def relax(self, model: str) -> None:
        """``model`` was too dear for a request, and was not asked.

        Who is never asked is never measured again: without this, one slow minute would keep a
        model out for good. So the dearest call is forgotten after some such requests.
        """
        with self._lock:
            for kind in ("retrieve", "score"):
                if (model, kind) in self._meters:
                    self._meters[model, kind].relax()

    def known(self, model: str, kind: str) -> bool:
        """Whether such a call was ever measured."""
        return (model, kind) in self._meters

    def predict(self, model: str, kind: str, rows: int | None = None) -> float:
        """Milliseconds of the next such call; 0 where nothing was measured.

        Args:
            rows: how many candidates are to be scored; ``None`` = as many as usual.
        """
        with self._lock:
            meter = self._meters.get((model, kind))
            if meter is None:
                return 0.0
            if kind != "score":
                return meter.predict(None)
            return meter.predict(meter.usual if rows is None else rows)

    def of_model(self, model: str) -> float:
        """Milliseconds of everything that a usual request asks of ``model``."""
        return self.predict(model, "retrieve") + self.predict(model, "score")

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values; `from_json` gives equal predictions."""
        with self._lock:
            return [
                {
                    "model": model,
                    "kind": kind,
                    "usual": meter.usual,
                    "ms": list(meter.ms),
                    "rows": list(meter.rows),
                }
                for (model, kind), meter in self._meters.items()
            ]

    @classmethod
    def from_json(cls, value: list[Mapping[str, Any]]) -> Costs:
        """What `to_json` gave."""
        costs = cls()
        for one in value:
            meter = costs._meters.setdefault((one["model"], one["kind"]), _Meter())
            meter.ms.extend(one["ms"])
            meter.rows.extend(one["rows"])
            meter.usual = one["usual"]
        return costs
