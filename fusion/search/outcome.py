"""`Found`: the best configuration of a search, and everything that was tried."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusion.atomic import write_text
from fusion.config import EngineConfig

if TYPE_CHECKING:
    import rich.console

__all__ = ["Found", "Trial", "write_found"]

#: keys of a `data:` section that hold paths
_PATHS = ("path", "interactions", "items")


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration that was tried.

    Attributes:
        number: from 0, in the order of trying; interrupted trials leave gaps.
        state: ``complete``; ``pruned`` = given up before all queries were judged; ``refused`` = its
            values contradict each other.
        value: the metric; of a pruned trial the mean so far, of a refused one ``None``.
        values: path to value.
        seconds: how long it took.
        reason: why it was refused; ``""`` otherwise.
    """

    number: int
    state: Literal["complete", "pruned", "refused"]
    value: float | None
    values: Mapping[str, Any]
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        config: the best complete configuration; that of the start if nothing was better.
        metric: what was maximised.
        value: the metric on validation events. The best of many trials flatters: measure the
            configuration on the test events once, with `recfusion evaluate`.
        start: the same of the configuration that the search started from.
        values: path to value of the best one; empty where it is a start outside of the space.
        trials: all of them.
        importance: path to its share in what tells good trials from bad; empty with few trials.
        protocol: what was searched, and how it was judged.
    """

    config: EngineConfig
    metric: str
    value: float
    start: float
    values: Mapping[str, Any]
    trials: tuple[Trial, ...]
    importance: Mapping[str, float] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "metric": self.metric,
            "value": self.value,
            "start": self.start,
            "values": dict(self.values),
            "importance": dict(self.importance),
            "config": self.config.to_dict(),
            "protocol": dict(self.protocol),
            "trials": [asdict(trial) for trial in self.trials],
        }

    def yaml(self) -> str:
        """The best configuration, complete; paths of the data are absolute."""
        from ruamel.yaml import YAML

        raw = self.config.to_dict()
        if raw["data"] is not None:
            base = self.config.base_folder
            raw["data"] |= {
                key: str((base / Path(raw["data"][key]).expanduser()).resolve())
                for key in _PATHS
                if raw["data"].get(key) is not None
            }
        stream = io.StringIO()
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.dump(_escaped(json.loads(json.dumps(raw))), stream)
        head = f"# {self.metric} on validation events: {self.value:.4f}; start: {self.start:.4f}\n"
        return head + stream.getvalue()

    def rich(self, limit: int = 10) -> rich.console.Group:
        """The ``limit`` best trials, and what mattered."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        paths = list(dict.fromkeys(path for trial in self.trials for path in trial.values))
        table = Table("trial", f"{self.metric}, validation", "seconds")
        for path in _tails(paths):
            table.add_column(Text(path), overflow="fold")  # text: a path is no markup
        complete = [trial for trial in self.trials if trial.state == "complete"]
        for trial in sorted(complete, key=lambda t: (-(t.value or 0), t.number))[:limit]:
            shown = [Text(_short(trial.values.get(path))) for path in paths]
            table.add_row(str(trial.number), f"{trial.value:.4f}", f"{trial.seconds:.1f}", *shown)
        counts = {
            state: sum(trial.state == state for trial in self.trials)
            for state in ("complete", "pruned", "refused")
        }
        lines = [
            f"best {self.value:.4f}, start {self.start:.4f}; trials: "
            + ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        ]
        if self.importance:
            shares = (f"{path} {share:.0%}" for path, share in self.importance.items())
            lines.append("what told good from bad: " + ", ".join(shares))
        return Group(table, *map(Text, lines))


def write_found(found: Found, out: Path) -> None:
    """Write ``best.yaml`` and ``trials.json``."""
    text = json.dumps(found.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(out / "trials.json", text)
    write_text(out / "best.yaml", found.yaml())


def _tails(paths: list[str]) -> list[str]:
    """The fewest last parts of each path, at least two, that tell all of them apart."""
    for length in range(2, 1 + max((path.count(".") + 1 for path in paths), default=0)):
        tails = [".".join(path.split(".")[-length:]) for path in paths]
        if len(set(tails)) == len(tails):
            return tails
    return paths


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def _escaped(value: Any) -> Any:
    """Text as it must be written not to be taken for an environment variable."""
    if isinstance(value, dict):
        return {key: _escaped(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    return value.replace("${", "$${") if isinstance(value, str) else value
