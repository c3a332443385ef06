"""One dimension of a search: a field of the configuration and what may stand there."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from fusion.config_errors import Fault, Path, nearest, worded

__all__ = ["Dimension", "read_dimension"]

_KEYS = {
    "float": ("float", "log", "step"),
    "int": ("int", "log", "step"),
    "choice": ("choice",),
}


@dataclass(frozen=True, slots=True)
class Dimension:
    """What may stand at one path.

    Attributes:
        path: dotted, as ``retrievers.ease.half_life``; the number of a list's member is a part.
        kind: numbers, whole numbers, or a list of choices.
        low: the least number, included.
        high: the greatest, included.
        log: whether ratios count instead of differences.
        step: only ``low``, ``low + step``, ...; ``None`` = any number between.
        choices: of a ``choice``: plain values of any shape.
    """

    path: str
    kind: Literal["float", "int", "choice"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of `path`."""
        return tuple(self.path.split("."))

    @property
    def samples(self) -> list[tuple[Path, Any]]:
        """Values that stand for all, each with its place in the space: ends, or every choice."""
        if self.kind == "choice":
            return [((self.path, "choice", at), value) for at, value in enumerate(self.choices)]
        whole = self.kind == "int"
        ends = [int(end) if whole else end for end in (self.low, self.high)]
        return [((self.path, self.kind, at), end) for at, end in enumerate(ends)]

    def ask(self, trial: Any) -> Any:
        """A value from an `optuna.trial.Trial`."""
        if self.kind == "choice":
            texts = [json.dumps(choice, sort_keys=True) for choice in self.choices]
            return self.choices[texts.index(trial.suggest_categorical(self.path, texts))]
        if self.kind == "int":
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(self.path, low, high, step=step, log=self.log)
        return trial.suggest_float(self.path, self.low, self.high, step=self.step, log=self.log)

    def as_asked(self, value: Any) -> Any:
        """``value`` as Optuna writes it down.

        Raises:
            ValueError: it is outside of the dimension.
        """
        if self.kind == "choice":
            for choice in self.choices:  # 5 is 5.0, but 1 is not true
                if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                    return json.dumps(choice, sort_keys=True)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            steps = (value - self.low) / (self.step or 1)
            even = self.step is None or math.isclose(steps, round(steps), abs_tol=1e-9)
            if self.low <= value <= self.high and even:
                return int(value) if self.kind == "int" else float(value)
        raise ValueError(value)

    def to_json(self) -> dict[str, Any]:
        """As the YAML writes it, every key filled in."""
        if self.kind == "choice":
            return {"choice": list(self.choices)}
        ends = [value for _, value in self.samples]
        return {self.kind: ends, "log": self.log, "step": self.step}


def read_dimension(path: str, raw: Any) -> Dimension | Fault:
    """What ``raw`` says, or what is wrong with it.

    ``{float: [1, 20], log: true}``, ``{int: [10, 500], step: 10}``, ``{choice: [a, b]}``, and
    ``bool`` for true or false.
    """
    if raw == "bool":
        return Dimension(path, "choice", choices=(True, False))
    kinds = [kind for kind in _KEYS if isinstance(raw, dict) and kind in raw]
    if len(kinds) != 1:
        expected = "one of {float: [low, high]}, {int: [low, high]}, {choice: [...]}, or bool"
        return Fault((path,), worded(expected, _short(raw)))
    kind = kinds[0]
    for key in raw:
        if key not in _KEYS[kind]:
            expected = f"one of the keys {', '.join(_KEYS[kind])}"
            return Fault((path, key), worded(expected, repr(key), nearest(key, _KEYS[kind])), True)
    values = raw[kind]
    if kind == "choice":
        texts = [json.dumps(v, sort_keys=True) for v in values] if isinstance(values, list) else []
        if not texts or len(set(texts)) < len(texts):
            return Fault((path, kind), worded("a list of different values", _short(values)))
        return Dimension(path, "choice", choices=tuple(values))
    return _range(path, kind, raw)


def _range(path: str, kind: str, raw: dict[str, Any]) -> Dimension | Fault:
    ends, log, step = raw[kind], raw.get("log", False), raw.get("step")
    whole = kind == "int"
    noun = "whole numbers" if whole else "numbers"

    def fits(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return False
        return math.isfinite(value)

    if not isinstance(ends, list) or len(ends) != 2 or not all(map(fits, ends)):
        return Fault((path, kind), worded(f"two {noun}, the lower first", _short(ends)))
    if ends[0] >= ends[1]:
        return Fault((path, kind), worded("the lower number first", _short(ends)))
    if not isinstance(log, bool):
        return Fault((path, "log"), worded("true or false", _short(log)))
    if log and ends[0] <= 0:
        return Fault((path, kind), worded("a lower end above 0 with log", _short(ends)))
    if step is not None and (log or not fits(step) or step <= 0):
        expected = "no step beside log" if log else f"{noun} above 0"
        return Fault((path, "step"), worded(expected, _short(step)))
    low, high = float(ends[0]), float(ends[1])
    if step is not None:  # Optuna would lower the end itself, and warn
        high = low + math.floor((high - low) / step + 1e-9) * step
    return Dimension(path, "int" if whole else "float", low, high, log, step)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return "nothing" if value is None else text if len(text) <= 80 else text[:77] + "..."
