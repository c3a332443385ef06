"""A thread for each model, so that whoever waits for a model may stop waiting.

Python cannot stop a thread. A call that is given up goes on in its worker, its result is dropped,
and until it ends the worker is `busy` and nobody else is sent to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["LateError", "Worker", "Workers"]

T = TypeVar("T")


class LateError(Exception):
    """The worker did not answer in time; never seen outside of `fusion.serving`."""


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class Worker:
    """One model's thread and the lock that keeps two callers from asking it at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._start = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running: _Job | None = None

    @property
    def busy(self) -> bool:
        """Whether a call that somebody gave up is still running."""
        job = self._running
        return job is not None and not job.done.is_set()

    def call(self, work: Callable[[], T], timeout: float | None) -> T:
        """``work()``: here, or with a ``timeout`` (seconds) in the worker's thread.

        Raises:
            LateError: no answer in time.
        """
        if timeout is None:
            with self.lock:
                return work()
        with self._start:
            if self._thread is None:
                # a daemon: a model that hangs must not keep the process from ending
                self._thread = threading.Thread(
                    target=self._run, name=f"recfusion {self.name}", daemon=True
                )
                self._thread.start()
        job = _Job(work)
        self._running = job
        self._jobs.put(job)
        if not job.done.wait(max(timeout, 0.0)):
            raise LateError
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                with self.lock:
                    job.result = job.work()
            except BaseException as error:
                job.error = error
            finally:
                job.done.set()


class Workers:
    """The workers of an engine's models, made when first asked for."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Worker:
        """The worker of model ``name``."""
        with self._lock:
            return self._workers.setdefault(name, Worker(name))
