"""`Control`: changes what is in force while requests are answered: swap, shadow, deadline."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fusion.config import EngineConfig
from fusion.errors import ConfigError, explain
from fusion.protocols import FitContext
from fusion.serving.after import build_after
from fusion.serving.calibrating import measured_calibration
from fusion.serving.deadline import Calibration
from fusion.serving.held_out import HeldOut, held_out
from fusion.serving.many import ManyUsers
from fusion.serving.shadow import Shadow, ShadowReport
from fusion.serving.state import State
from fusion.serving.swapping import Guards, SwapReport, compare_states
from fusion.training import learn

__all__ = ["ConfigLike", "Control"]

logger = logging.getLogger(__name__)

ConfigLike = EngineConfig | Mapping[str, Any] | str | Path
#: swaps that `Control.rollback` can undo
KEPT = 10


class Control(ManyUsers):
    """A service whose fusion can be changed while it runs; see `fusion.engine.Engine`."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self._previous: list[State] = []
        self._judged: dict[str, HeldOut | None] = {}

    def swap(
        self,
        config: ConfigLike,
        *,
        check: bool = True,
        max_churn: float | None = None,
        min_gain: float | None = None,
        max_slowdown: float | None = None,
        dry_run: bool = False,
    ) -> SwapReport:
        """Put another fusion over the same fitted models; no base model is fitted again.

        The new one is validated and learnt first, then compared with the old one, then put in
        force by one assignment: a request is answered by the one or the other. `rollback` undoes
        it.

        Args:
            config: a YAML file, a mapping or a configuration. It may hold a ``fusion:`` section
                only; where it names models, they must be the ones that were fitted.
            check: replay the last requests, judge both on out-of-window queries and time them.
            max_churn: refuse if 1 - mean RBO of the replayed lists is above.
            min_gain: refuse if the lower end of the 95 % interval of the gain in NDCG@10 is below.
            max_slowdown: refuse if the median latency is above so many times the old one.
            dry_run: compare only.

        Returns:
            What was compared; without ``check``, or before `fit`, most of it is NaN.

        Raises:
            ConfigError: the models differ, the fusion must learn and the engine has no window, or
                a guard is given without ``check``. The fusion in force stays.
            SwapRefusedError: a guard did not let it pass; likewise.
        """
        guards = Guards(max_churn, min_gain, max_slowdown)
        if not check and guards != Guards():
            raise ConfigError(explain("swap", "check=True with a guard", "check=False"))
        with self._changing:
            old = self._state
            new = self._candidate(old, config)
            report = SwapReport(
                str(old.config.fusion["mode"]),
                str(new.config.fusion["mode"]),
                old.config.hash,
                new.config.hash,
            )
            if check and self._fitted is not None:
                report = compare_states(
                    self._fitted,
                    old,
                    new,
                    self._recent.last(),
                    self._windows[-1].pool if self._windows else None,
                    self._judge,
                )
            report.checked(guards)
            if dry_run:
                return report
            self._previous = [*self._previous, old][-KEPT:]
            self._state = new
        return replace(report, swapped=True)

    def rollback(self) -> None:
        """Put the fusion back that the last swap replaced; it need not learn again.

        Raises:
            ConfigError: nothing was swapped, or all swaps are undone.
        """
        with self._changing:
            if not self._previous:
                raise ConfigError(explain("rollback", "a swap to undo", "none"))
            self._state = self._previous.pop()

    def _candidate(self, old: State, config: ConfigLike) -> State:
        new = EngineConfig.overlay(old.config, config)
        for part in ("retrievers", "rankers"):
            if getattr(new, part) != getattr(old.config, part):
                raise ConfigError(
                    explain(
                        f"swap, {part}",
                        f"the fitted models {getattr(old.config, part)}",
                        str(getattr(new, part)),
                        "fit a new engine to change its models",
                    )
                )
        strategy = new.build_strategy()
        strategy.uses(tuple(self._models))
        if self._fitted is not None:
            learn(strategy, self._windows, FitContext(new.seed, catalog=self.data.catalog))
        state = State(new, strategy, build_after(new), old.shadow)
        if state.after is not None and self._fitted is not None:
            state.after.bind(self.data.catalog)
        if new.serving.shadow != old.config.serving.shadow:
            state = self._with_shadow(replace(state, shadow=None))
        return state

    def _judge(self, state: State) -> HeldOut | None:
        """Held-out NDCG of a state's fusion, remembered: the old one was judged as a new one."""
        key = json.dumps([state.config.fusion, state.config.seed], sort_keys=True)
        if key not in self._judged:
            context = FitContext(state.config.seed, catalog=self.data.catalog)
            self._judged[key] = held_out(state.config.build_strategy, self._windows, context)
        return self._judged[key]

    def shadow(
        self,
        fusion: Mapping[str, Any] | None,
        *,
        share: float = 0.1,
        log: str | Path = "shadow.jsonl",
    ) -> None:
        """Let a candidate fusion see a share of the requests; see `fusion.serving.shadow.Shadow`.

        Args:
            fusion: what stands under ``fusion:`` in a YAML; ``None`` ends the shadow.
            share: of the requests, 0..1; a hash of the request decides.
            log: file of JSON lines that both lists are appended to.

        Raises:
            ConfigError: the fusion is faulty, or must learn and the engine has no window.
        """
        with self._changing:
            if self._state.shadow is not None:
                self._state.shadow.flush()
            section = None if fusion is None else {"fusion": fusion, "share": share, "log": log}
            serving = {**self.config.serving.model_dump(mode="json"), "shadow": section}
            config = EngineConfig.overlay(self.config, {"serving": serving})
            self._state = self._with_shadow(replace(self._state, config=config, shadow=None))

    def shadow_report(self) -> ShadowReport:
        """What the shadow has seen up to now.

        Raises:
            ConfigError: there is none.
        """
        if self._state.shadow is None:
            do = "call shadow(fusion) or set serving.shadow"
            raise ConfigError(explain("shadow_report", "a shadow", "none", do))
        return self._state.shadow.report()

    def _with_shadow(self, state: State) -> State:
        section = state.config.serving.shadow
        if section is None or self._fitted is None:
            return state
        strategy = self.learnt(section.fusion)
        config = EngineConfig.overlay(state.config, {"fusion": section.fusion})
        shadow = Shadow(
            strategy, config.hash, share=section.share, log=section.log, seed=config.seed
        )
        return replace(state, shadow=shadow)

    def calibrate_deadline(self, *, progress: bool = False, again: bool = False) -> Calibration:
        """Time the models, order them by value per cost, fit a fusion for each prefix of them.

        Done once for a fusion; what it gives is saved with the engine. Until it is called, the
        first request with a deadline pays for it.

        Args:
            progress: show stages and bars on standard error.
            again: also where it was done before.

        Raises:
            NotFittedError: before `fit`.
        """
        models, state = self._ready, self._state
        with self._changing:
            state = self._state
            if state.calibration is None or again:
                context = FitContext(state.config.seed, None, progress, self.data.catalog)
                found = measured_calibration(models, state, self._windows, context)
                state = self._state = replace(state, calibration=found)
        assert state.calibration is not None
        return state.calibration

    def _calibrated(self, state: State) -> State:
        while state.calibration is None:  # again, if a swap came in between
            logger.warning("the deadline is calibrated now; call calibrate_deadline before serving")
            self.calibrate_deadline()
            state = self._state
        return state
