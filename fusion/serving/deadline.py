"""Who is asked when time is short: models in the order of value per cost, as far as time allows.

`calibrate` measures once. The chain of models is found by backward elimination: of the models that
are left, the one whose absence costs the least NDCG@10 on out-of-window queries per millisecond is
taken away, again and again (Wang, Lin and Metzler, "A cascade ranking model for efficient ranked
retrieval", SIGIR 2011, have the trade-off; the greedy search is ours). Every prefix of the chain
has a fusion of its own, fitted on the columns of its models only.

At a request, `plan` takes the longest prefix that is expected to be done in time, and a
`DeadlineGate` watches what really happens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from fusion.config import EngineConfig
from fusion.errors import RecfusionError
from fusion.pool import StoredPool
from fusion.progress import stage
from fusion.protocols import FitContext, Labelled, Model, Retriever, Strategy, Windows
from fusion.serving.asking import Asker, Gate
from fusion.serving.costs import Costs
from fusion.serving.held_out import window_ndcg
from fusion.serving.subset import restricted_window, subset_strategy

__all__ = ["Calibration", "DeadlineGate", "Prefix", "Step", "calibrate", "chain_of", "plan"]

log = logging.getLogger(__name__)

#: queries of the newest window that models are ordered by; more do not change an order much
JUDGED = 500
#: milliseconds below which a model counts as this dear, so that none is free
CHEAPEST = 0.01
RRF: Mapping[str, Any] = MappingProxyType({"mode": "parallel", "method": "rrf"})


@dataclass(frozen=True, slots=True)
class Step:
    """One model of the chain.

    Attributes:
        model: its name.
        value: NDCG@10 that was lost without it when it was taken away; NaN without a window.
        ms: what it was expected to cost then.
    """

    model: str
    value: float
    ms: float


@dataclass(frozen=True, slots=True)
class Prefix:
    """The fusion over the first models of the chain.

    Attributes:
        models: in the engine's order.
        fusion: what stands under ``fusion:`` for them.
        strategy: the same, ready to fuse.
    """

    models: tuple[str, ...]
    fusion: Mapping[str, Any]
    strategy: Strategy


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chain, and a prefix for each length; the last is the strategy in force."""

    chain: tuple[Step, ...]
    prefixes: tuple[Prefix, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """The models, the first to be asked first."""
        return tuple(step.model for step in self.chain)


def calibrate(
    config: EngineConfig,
    strategy: Strategy,
    models: Mapping[str, Model],
    windows: Windows,
    costs: Costs,
    context: FitContext,
) -> Calibration:
    """Order the models and fit a fusion for every prefix.

    Args:
        strategy: in force, ready to fuse.
        models: every model of the engine, retrievers first.
        windows: what to judge and to fit on; without any, the cheapest retriever comes first, and
            a fusion that must learn becomes reciprocal rank fusion where models are missing.
        costs: measured before.
    """
    names = tuple(models)
    asked = set(strategy.uses(names))
    retrievers = tuple(name for name in names if isinstance(models[name], Retriever))
    used = tuple(name for name in names if name in asked or name in retrievers)
    stored = tuple(w for w in windows if isinstance(w.pool, StoredPool) and len(w.targets))
    with stage("order the models by value and cost", show=context.progress):
        chain = chain_of(config, strategy, names, used, retrievers, stored, costs, context)
    prefixes = []
    for n in range(1, len(chain) + 1):
        first = {step.model for step in chain[:n]}
        if n == len(chain):
            prefixes.append(Prefix(used, config.fusion, strategy))
            break
        subset = tuple(name for name in used if name in first)
        with stage(f"fit the fusion of {', '.join(subset)}", show=context.progress):
            prefixes.append(_prefix(config, names, subset, stored, context))
    return Calibration(chain, tuple(prefixes))


def _prefix(
    config: EngineConfig,
    names: tuple[str, ...],
    subset: tuple[str, ...],
    windows: Windows,
    context: FitContext,
) -> Prefix:
    own, fusion = subset_strategy(config, names, subset)
    if own.learns:
        why = "" if windows else "there is no window to learn from"
        if windows:
            try:
                own.fit([restricted_window(window, subset) for window in windows], context)
            except RecfusionError as error:
                why = str(error)
        if why:
            log.warning("deadline: reciprocal rank fusion over %s: %s", ", ".join(subset), why)
            fusion = {**RRF, "models": list(subset)}
            own = config.build_strategy(fusion)
    return Prefix(subset, fusion, own)


def chain_of(
    config: EngineConfig,
    strategy: Strategy,
    names: tuple[str, ...],
    used: tuple[str, ...],
    retrievers: tuple[str, ...],
    windows: Sequence[Labelled],
    costs: Costs,
    context: FitContext,
) -> tuple[Step, ...]:
    """The chain of the models ``used``; it begins with a retriever.

    A fusion that learns would have to be fitted for every subset that is tried; subsets are then
    judged by reciprocal rank fusion, which orders the models only.
    """
    window = None if not windows else _sample(windows[-1], context)
    judge = EngineConfig.overlay(config, {"fusion": RRF}) if strategy.learns else config

    def ndcg(subset: Sequence[str]) -> float:
        if window is None:
            return float("nan")
        own, _ = subset_strategy(judge, names, subset)
        return float(window_ndcg(own, restricted_window(window, subset)).mean())

    left, chain = list(used), list[Step]()
    here = ndcg(left)
    while len(left) > 1:
        tried = []
        for name in left:
            rest = [other for other in left if other != name]
            if not any(other in retrievers for other in rest):
                continue
            value = here - ndcg(rest)
            ms = max(costs.of_model(name), CHEAPEST)
            # without a window: the dearest goes first
            worth = -ms if np.isnan(value) else value / ms
            tried.append((worth, -ms, name, value))
        _, negative_ms, name, value = min(tried)
        left.remove(name)
        chain.append(Step(name, value, -negative_ms))
        here -= value
    last = left[0]
    chain.append(Step(last, here, max(costs.of_model(last), CHEAPEST)))
    return tuple(reversed(chain))


def _sample(window: Labelled, context: FitContext) -> Labelled:
    n = len(window.targets)
    if n <= JUDGED:
        return window
    chosen = context.rng("deadline sample").choice(n, JUDGED, replace=False)
    return window.take(np.sort(chosen))


def plan(calibration: Calibration, costs: Costs, left_ms: float) -> int:
    """How many models of the chain are expected to be done within ``left_ms``; at least 1."""
    spent, n = costs.predict("", "fuse"), 0
    for step in calibration.chain:
        spent += costs.of_model(step.model)
        if n > 0 and spent > left_ms:
            break
        n += 1
    return n


class DeadlineGate(Gate):
    """Lets in whom time is left for; the first retriever always, for as long as it takes.

    Args:
        end: when the answer is due, as of `time.perf_counter`.
        costs: what calls are expected to take.
        retrievers: names of those that look at the whole catalogue.
    """

    def __init__(self, end: float, costs: Costs, retrievers: Sequence[str]) -> None:
        self.asker: Asker | None = None  # set by the caller, who makes it with this gate
        self._end, self._costs, self._retrievers = end, costs, frozenset(retrievers)
        self._first = ""

    def left_ms(self) -> float:
        """Milliseconds that are left for models: the fusion itself comes after them."""
        return 1000 * (self._end - time.perf_counter()) - self._costs.predict("", "fuse")

    def closed(self, name: str, kind: str, rows: int) -> str:
        """See `Gate`."""
        if self._must(name):
            self._first = name
            return ""
        needed = self._costs.predict(name, kind, rows)
        if kind == "retrieve":  # what it brings must be scored as well
            needed += self._costs.predict(name, "score")
        left = self.left_ms()
        if needed <= left and left > 0:
            return ""
        return f"deadline: it needs about {needed:.0f} ms, {max(left, 0):.0f} ms are left"

    def timeout(self, name: str) -> float | None:
        """See `Gate`."""
        return None if self._must(name) else max(self.left_ms(), 0.0) / 1000

    def _must(self, name: str) -> bool:
        if name == self._first:
            return True
        assert self.asker is not None
        answered = any(
            run.status == "ok" and other in self._retrievers
            for other, run in self.asker.runs.items()
        )
        return name in self._retrievers and not answered
