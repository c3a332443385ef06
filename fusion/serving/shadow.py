"""Shadow: a candidate fusion sees a share of the live requests, and nobody sees its answers.

It fuses what the models have said already for the live answer, after that answer was given, in a
thread of its own; what its errors cost is a line in the log.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusion.data.dataset import Dataset
from fusion.evaluation.agreement import overlap, rbo
from fusion.pool import LivePool
from fusion.protocols import Strategy
from fusion.serving.requests import Request
from fusion.topk import top_of

__all__ = ["Shadow", "ShadowReport"]

log = logging.getLogger(__name__)

#: requests that wait for the thread; more are dropped and counted, so that memory stays bounded
WAITING = 64


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """What a shadow has seen, from its log.

    Attributes:
        requests: how many were scored by both.
        errors: how many the candidate could not score.
        dropped: how many came faster than they could be scored (by this process).
        overlap: mean share of items that both lists have; NaN without requests.
        rbo: mean rank-biased overlap; likewise.
        ms: median milliseconds of the candidate's fusion; likewise.
        log: the file.
    """

    requests: int
    errors: int
    dropped: int
    overlap: float
    rbo: float
    ms: float
    log: str

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is null."""
        values = asdict(self)
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values.items()}


class Shadow:
    """Scores a share of the requests with ``strategy`` and writes both lists down.

    One JSON object a line: ``time`` (seconds since the epoch), ``request`` (a hash; who asked is
    not told), ``candidate`` (hash of its configuration), ``k``, ``live`` and ``shadow`` (item ids,
    best first, before the steps after fusion), ``overlap``, ``rbo``, ``ms``; or ``error`` instead
    of a list. A line is one write to a file opened for appending, so several processes may share
    the file.

    Args:
        strategy: ready to fuse.
        candidate: hash of its configuration.
        share: of the requests, 0..1.
        log: the file; its folder is made.
        seed: part of the hash that chooses requests.
    """

    def __init__(
        self, strategy: Strategy, candidate: str, *, share: float, log: str | Path, seed: int
    ) -> None:
        self.strategy, self.candidate = strategy, candidate
        self.share, self.path, self.seed = share, Path(log), seed
        self.dropped = 0
        self._waiting: deque[tuple[Request, LivePool, list[str], Dataset]] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def chooses(self, request: Request) -> bool:
        """Whether ``request`` is one of the share: always the same answer for the same request."""
        return int(request.digest(self.seed), 16) < self.share * 2.0**64

    def watch(self, request: Request, pool: LivePool, live: list[str], data: Dataset) -> None:
        """Score ``pool``, whose live answer is the item ids ``live``, soon; never raises."""
        with self._lock:
            if len(self._waiting) >= WAITING:
                self.dropped += 1
                return
            self._waiting.append((request, pool, live, data))
            if self._thread is None:
                # no daemon: what was seen is written down before the process ends
                self._thread = threading.Thread(target=self._drain, name="recfusion shadow")
                self._thread.start()

    def flush(self) -> None:
        """Wait until everything that was seen is written down."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def report(self) -> ShadowReport:
        """Sum up the log's lines about this candidate."""
        self.flush()
        lines = [line for line in self._read() if line.get("candidate") == self.candidate]
        good = [line for line in lines if "error" not in line]
        nan = float("nan")
        return ShadowReport(
            len(good),
            len(lines) - len(good),
            self.dropped,
            float(np.mean([line["overlap"] for line in good])) if good else nan,
            float(np.mean([line["rbo"] for line in good])) if good else nan,
            float(np.median([line["ms"] for line in good])) if good else nan,
            str(self.path),
        )

    def _read(self) -> list[dict[str, Any]]:
        try:
            text = self.path.read_text("utf-8")
        except OSError:
            return []
        found = []
        for line in text.splitlines():
            try:
                value = json.loads(line)
            except ValueError:  # a line that a full disk cut short
                continue
            if isinstance(value, dict):
                found.append(value)
        return found

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                request, pool, live, data = self._waiting.popleft()
            entry: dict[str, Any] = {
                "time": time.time(),
                "request": request.digest(self.seed),
                "candidate": self.candidate,
                "k": request.k,
                "live": live,
            }
            try:
                entry |= self._scored(request.k, pool, live, data)
            except Exception as error:  # whatever it is, the user has had the answer
                log.warning("shadow: the candidate failed: %s", error, exc_info=True)
                entry["error"] = f"{type(error).__name__}: {error}"
            try:
                self._append(entry)
            except OSError as error:
                log.warning("shadow: %s cannot be written: %s", self.path, error)

    def _scored(self, k: int, pool: LivePool, live: list[str], data: Dataset) -> Mapping[str, Any]:
        start = time.perf_counter()
        top = top_of(self.strategy.fuse(pool), k, explain=False)
        ms = 1000 * (time.perf_counter() - start)
        shadow = [data.catalog.ids[item] for item in top.items]
        return {
            "shadow": shadow,
            "overlap": overlap(live, shadow, k),
            "rbo": rbo(live, shadow),
            "ms": ms,
        }

    def _append(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode("utf-8", "surrogatepass"))
        finally:
            os.close(handle)
