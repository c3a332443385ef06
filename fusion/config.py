"""The YAML schema: what an engine is made of, checked before anything is computed.

::

    seed: 0
    retrievers:                     # at least one; the key is the model's name
      ease: {reg: 500}              # a registered name, with the component's own parameters
      mine: {type: "my_package:MyRetriever"}
    rankers: {}
    fusion: {mode: parallel}        # a strategy, with its own parameters
    stacking: {window: leave_last_out, events: 1}
    fallback: null                  # the retriever that answers for unknown users
    exclude_seen: true

Unknown keys are refused. A `ConfigError` lists every fault with file, line, column and path, what
was expected, what came and the nearest valid name. What is stored is complete: every default is
filled in, so the hash is one of the meaning, not of the spelling.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from fusion.after.pipeline import StepSpec
from fusion.config_checks import cross_faults, names_at
from fusion.config_components import (
    DEFAULT_FUSION,
    Fusion,
    Name,
    Params,
    Rankers,
    Retrievers,
    custom_fault,
    filled,
    make,
)
from fusion.config_errors import Fault, Positions, config_error, faults_of, worded
from fusion.config_serving import ServingConfig
from fusion.config_tournament import TournamentConfig
from fusion.protocols import ComponentConfig, Ranker, Retriever, Strategy
from fusion.yaml_source import read_yaml

__all__ = ["EngineConfig", "EvaluationConfig", "StackingConfig"]


def _data(raw: dict[str, Any]) -> dict[str, Any]:
    from fusion.data.load import DataConfig

    return filled(DataConfig, raw)


class StackingConfig(ComponentConfig):
    """The window of newest events that a learned fusion learns from."""

    window: Literal["leave_last_out", "temporal"] = Field(
        "leave_last_out", description="the last events of each user, or those after one global cut"
    )
    events: int = Field(1, ge=1, description="how many events of each user, at most")
    fraction: float = Field(
        0.1, gt=0, lt=1, description="temporal: share of all events after the cut"
    )
    max_queries: int | None = Field(
        1000,
        ge=1,
        description="learn from so many events of a window drawn at random; null = from all",
    )
    windows: int = Field(
        1,
        ge=1,
        description="so many windows, one before the other; every model is fitted once for each",
    )


class EvaluationConfig(ComponentConfig):
    """How `recfusion evaluate` and the benchmark scripts measure."""

    split: Literal["leave_last_out", "temporal"] = Field(
        "leave_last_out", description="comparable with papers, or one global cut in time"
    )
    fraction: float = Field(
        0.2, gt=0, lt=1, description="temporal: share of all events after the cut"
    )
    events_per_user: int = Field(
        10, ge=1, description="temporal: at most so many queries of each user"
    )
    k: int = Field(10, ge=1, description="length of the lists that are judged")
    max_users: int | None = Field(
        None, ge=1, description="judge so many users drawn at random; null = all"
    )
    fusions: dict[Name, Fusion] = Field(
        default_factory=dict, description="other fusions to measure over the same fitted models"
    )


class EngineConfig(ComponentConfig):
    """A whole engine; see the module's docstring.

    Build it with `from_yaml` or `from_mapping`: they list every fault at once.

    Attributes:
        retrievers: name -> ``type`` and every parameter of that retriever.
        rankers: likewise.
        fusion: ``mode`` and every parameter of the strategy.
    """

    seed: int = Field(0, ge=0, description="every random choice derives from it")
    retrievers: Retrievers = Field(
        min_length=1, description="models that look at the whole catalogue"
    )
    rankers: Rankers = Field(
        default_factory=dict, description="models that score what the retrievers found"
    )
    fusion: Fusion = Field(
        default_factory=lambda: dict(DEFAULT_FUSION),
        validate_default=True,
        description="how what the models say becomes one list",
    )
    stacking: StackingConfig | None = Field(
        default_factory=StackingConfig,
        description="the window a learned fusion learns from; null = none",
    )
    after: tuple[StepSpec, ...] = Field(
        (),
        description="what happens to the fused list, in this order: rules, diversity, exploration",
    )
    fallback: str | None = Field(
        None, description="the retriever that answers for users without history; null = an error"
    )
    exclude_seen: bool = Field(True, description="never recommend what the user has met")
    data: Annotated[Params, AfterValidator(_data)] | None = Field(
        None, description="where the data of the command line and the benchmarks lies"
    )
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig,
        description="how the command line and the benchmarks measure",
    )
    serving: ServingConfig = Field(
        default_factory=ServingConfig, description="what the engine does while it answers"
    )
    tournament: TournamentConfig | None = Field(
        None, description="what `recfusion compare` lets compete; null = no tournament"
    )

    _base_folder: Path | None = PrivateAttr(None)

    @classmethod
    def from_yaml(cls, path: str | Path) -> EngineConfig:
        """Read a YAML file; ``${NAME}`` and ``${NAME:-default}`` are environment variables.

        Raises:
            ConfigError: every fault with ``file:line:column``.
        """
        raw, faults, positions = _read(path)
        return cls._checked(raw, faults, str(path), positions, Path(path).resolve().parent)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> EngineConfig:
        """From a mapping of the YAML's shape, taken as it is (nothing is interpolated).

        Raises:
            ConfigError: every fault with its path.
        """
        return cls._checked(_plain(mapping), [], "config", Positions(), None)

    @classmethod
    def overlay(
        cls, base: EngineConfig, other: EngineConfig | Mapping[str, Any] | str | Path
    ) -> EngineConfig:
        """``base`` with the sections that ``other`` (a file, a mapping, a config) has instead.

        Raises:
            ConfigError: as `from_yaml`; also if ``other`` fits no engine of ``base``'s models.
        """
        if isinstance(other, EngineConfig):
            return other
        source, folder = "config", base._base_folder
        faults: list[Fault] = []
        positions = Positions()
        raw: Any = other
        if isinstance(other, str | Path):
            raw, faults, positions = _read(other)
            source = str(other)
            if isinstance(raw, dict) and "data" in raw:
                folder = Path(other).resolve().parent
        else:
            raw = _plain(other)
        merged = {**base.to_dict(), **raw} if isinstance(raw, dict) else raw
        return cls._checked(merged, faults, source, positions, folder)

    @classmethod
    def _checked(
        cls, raw: Any, faults: list[Fault], source: str, positions: Positions, folder: Path | None
    ) -> EngineConfig:
        found = list(faults)
        unread = [fault.path for fault in faults if not fault.at_key]
        config: EngineConfig | None = None
        if () not in unread:  # what could not be read at all has no other faults worth telling
            try:
                config = cls.model_validate_json(json.dumps(raw), strict=True)
            except ValidationError as error:
                new = [*cross_faults(raw), *faults_of(error, raw, partial(names_at, cls, raw))]
                known = {(fault.path, fault.message) for fault in found}
                for fault in new:
                    hidden = any(fault.path[: len(path)] == path for path in unread)
                    if not hidden and (fault.path, fault.message) not in known:
                        known.add((fault.path, fault.message))
                        found.append(fault)
        if found or config is None:
            raise config_error(found, source, positions)
        config._base_folder = folder
        return config

    @model_validator(mode="after")
    def _fits_together(self) -> EngineConfig:
        errors = [
            InitErrorDetails(type=custom_fault(fault.message), loc=fault.path, input=None)
            for fault in cross_faults(self.to_dict())
        ]
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; where they were read from does not matter."""
        return isinstance(other, EngineConfig) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def base_folder(self) -> Path:
        """What relative paths in ``data`` start from: the YAML's folder, else the current one."""
        return self._base_folder or Path.cwd()

    @property
    def hash(self) -> str:
        """SHA-256 of the engine's meaning, defaults included.

        Without ``data`` and ``evaluation``: the data set and the protocol have hashes of their own
        in a result's fingerprint, and one engine may be measured on several. Without ``serving``
        and ``tournament``: they change no answer of models that work.
        """
        other = ("data", "evaluation", "serving", "tournament")
        meaning = {k: v for k, v in self.to_dict().items() if k not in other}
        text = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every default filled in; `from_mapping` gives an equal configuration."""
        return self.model_dump(mode="json")

    def build(self) -> tuple[dict[str, Retriever], dict[str, Ranker], Strategy]:
        """New, unfitted models by name, and the strategy."""
        retrievers = {
            n: cast(Retriever, make("retrievers", n, p)) for n, p in self.retrievers.items()
        }
        rankers = {n: cast(Ranker, make("rankers", n, p)) for n, p in self.rankers.items()}
        return retrievers, rankers, self.build_strategy()

    def build_strategy(self, fusion: Mapping[str, Any] | None = None) -> Strategy:
        """A new strategy as ``fusion`` (by default: this configuration's) says.

        Raises:
            ConfigError: every fault of ``fusion``.
        """
        params = self.fusion
        if fusion is not None:
            params = type(self).overlay(self, {"fusion": fusion}).fusion
        return cast(Strategy, make("fusion", params["mode"], params))


def _read(path: str | Path) -> tuple[Any, list[Fault], Positions]:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        fault = Fault((), worded("a YAML file in UTF-8", why, "check the path"))
        raise config_error([fault], str(path), Positions()) from error
    source = read_yaml(text)
    return source.value, source.faults, source.positions


def _plain(value: Any) -> Any:
    """``value`` as JSON knows it: tuples are lists, paths are text, NumPy numbers are numbers."""

    def other(thing: Any) -> Any:
        if isinstance(thing, Mapping):
            return dict(thing)
        if isinstance(thing, Path):
            return str(thing)
        if isinstance(thing, BaseModel):
            return thing.model_dump(mode="json")
        if hasattr(thing, "item"):
            return thing.item()
        raise TypeError(f"{type(thing).__name__} {thing!r}")

    try:
        return json.loads(json.dumps(value, default=other))
    except (TypeError, ValueError, RecursionError) as error:
        fault = Fault((), worded("text, numbers, booleans, lists and mappings", str(error)))
        raise config_error([fault], "config", Positions()) from error
