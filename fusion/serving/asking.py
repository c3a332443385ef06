"""Asking models: answers are checked, timed and counted; failures are handled in one place.

An `Asker` belongs to one batch of queries. It knows what to do when a model raises or answers with
what cannot be scores, and remembers how each model did. Where it says ``None``, the model has no
answer for this batch, and it is not asked again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from fusion.candidates import Candidates, Scores
from fusion.errors import ModelError, explain
from fusion.protocols import Model, Retriever
from fusion.queries import Queries
from fusion.recommendation import NO_CALLS, ModelRun
from fusion.serving.checks import checked_list, checked_scores
from fusion.serving.costs import Costs
from fusion.serving.workers import LateError, Workers
from fusion.work import Work, absorb, counting

__all__ = ["Asker", "Gate", "OnError"]

log = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]
T = TypeVar("T")


class Gate:
    """Who may be asked, and for how long; this one lets everybody in, for as long as it takes."""

    def closed(self, name: str, kind: str, rows: int) -> str:
        """Why ``name`` is not asked to ``kind`` (``retrieve``, ``score``) ``rows`` rows, or ""."""
        del name, kind, rows
        return ""

    def timeout(self, name: str) -> float | None:
        """Seconds until an answer of ``name`` is too late; ``None`` = it is waited for."""
        del name
        return None


class Asker:
    """Asks the models of one batch.

    Args:
        on_error: ``raise`` a `ModelError`, or ``skip`` the model and go on.
        workers: threads and locks of the models; by default some of its own.
        costs: where the time of every answer is written down.
        gate: who may be asked.

    Attributes:
        runs: model -> how it did, in the order in which they were asked.
    """

    def __init__(
        self,
        on_error: OnError = "raise",
        *,
        workers: Workers | None = None,
        costs: Costs | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.on_error = on_error
        self.runs: dict[str, ModelRun] = {}
        self.costs = costs
        self._calls: dict[str, dict[str, Work]] = {}
        self._workers = workers or Workers()
        self._gate = gate or Gate()

    def gone(self, name: str) -> bool:
        """Whether model ``name`` has no (further) answer for this batch."""
        run = self.runs.get(name)
        return run is not None and run.status != "ok"

    def retrieve(
        self, name: str, model: Retriever, queries: Queries, n: int, n_items: int
    ) -> Candidates | None:
        """Checked ``model.retrieve(queries, n)``.

        Raises:
            ModelError: it failed, and ``on_error`` is ``raise``.
        """
        return self._ask(
            name,
            "retrieve",
            n * len(queries),
            lambda: checked_list(name, model.retrieve(queries, n), queries, n_items),
        )

    def score(
        self, name: str, model: Model, queries: Queries, candidates: Candidates
    ) -> Scores | None:
        """Checked ``model.score(queries, candidates)``; likewise."""
        return self._ask(
            name,
            "score",
            len(candidates),
            lambda: checked_scores(name, model.score(queries, candidates), candidates),
        )

    def skip(self, name: str, reason: str) -> None:
        """Do not ask ``name`` (any more)."""
        self._note(name, "skipped", 0.0, reason)

    def _ask(self, name: str, kind: str, rows: int, work: Callable[[], T]) -> T | None:
        if self.gone(name):
            return None
        closed = self._gate.closed(name, kind, rows)
        if not closed and self._gate.timeout(name) is not None and self._workers.of(name).busy:
            closed = "deadline: still busy with an earlier request"
        if closed:
            self.skip(name, closed)
            return None
        done = Work()

        def counted() -> T:
            # here, in the thread that works: what is counted there is not seen from another one
            with counting() as here:
                try:
                    return work()
                finally:
                    done.add(here)

        start, timeout = time.perf_counter(), self._gate.timeout(name)
        try:
            answer = self._workers.of(name).call(counted, timeout)
        except LateError:
            spent = 1000 * (time.perf_counter() - start)
            # what it counts from now on is nobody's: the call is given up
            self._count(name, kind, spent, Work())
            self._note(name, "late", spent, f"deadline: no answer to {kind} in {spent:.0f} ms")
            if self.costs is not None:  # it took at least so long; the next plan should know
                self.costs.add(name, kind, rows, spent)
            return None
        except Exception as error:
            spent = 1000 * (time.perf_counter() - start)
            self._count(name, kind, spent, done)
            self._fail(name, kind, spent, error)
            return None
        spent = 1000 * (time.perf_counter() - start)
        if self.costs is not None:
            self.costs.add(name, kind, rows, spent)
        if timeout is not None:
            absorb(done)
        self._count(name, kind, spent, done)
        self._note(name, "ok", spent, "")
        return answer

    def _count(self, name: str, kind: str, ms: float, work: Work) -> None:
        """Keep what a call counted, and how long it took as a whole, under the kind's own name."""
        work.seconds[kind] = ms / 1000
        calls = self._calls.setdefault(name, {})
        if kind in calls:
            calls[kind].add(work)
        else:
            calls[kind] = work

    def _fail(self, name: str, kind: str, ms: float, error: Exception) -> None:
        reason = str(error)
        if not isinstance(error, ModelError):
            got = f"{type(error).__name__}: {error}"
            do = "correct the model, or set serving.on_model_error: skip"
            reason = explain(f"model {name!r}", f"an answer to `{kind}`", got, do)
        if self.on_error == "raise":
            if isinstance(error, ModelError):
                raise error
            raise ModelError(reason, model=name) from error
        log.warning("left out: %s", reason, exc_info=error)
        self._note(name, "failed", ms, reason)

    def _note(self, name: str, status: Any, ms: float, reason: str) -> None:
        before = self.runs.get(name)
        total = ms if before is None else before.ms + ms
        self.runs[name] = ModelRun(status, total, reason, self._calls.get(name, NO_CALLS))
