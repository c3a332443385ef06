"""Every error the project raises on purpose, as one tree.

::

    RecfusionError
    ├── ConfigError                 a YAML or dict that does not describe an engine
    │   └── UnknownComponentError   a name that no distribution registers (lists the known ones)
    ├── DataError                   input data that cannot be used as it is
    │   ├── BadRowError             one row of a file or a frame: names source, line, field
    │   └── MissingDataError        a file that is not there: which, where, how to get it
    ├── UnknownUserError            a user without history, and no fallback configured
    ├── UnknownItemError            an item id that the catalogue does not hold
    ├── NotFittedError              a model asked to score before ``fit``
    ├── ModelError                  a model that raised, or gave what cannot be scores
    ├── SwapRefusedError            a fusion that a guard of ``swap`` kept out
    ├── LeakageError                a stacker's score column whose model had seen its label
    ├── FingerprintError            results measured under different protocols put side by side
    ├── ArtifactError               a saved engine that cannot be trusted
    │   ├── CorruptArtifactError    missing, truncated or altered file (checked before parsing)
    │   └── VersionError            written by an incompatible version
    └── DependencyError             an optional package is missing (also an ImportError)

A message says who noticed, what was expected, what came, and what to do about it. Messages are
for people; programs use the class and its attributes.
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "BadRowError",
    "ConfigError",
    "CorruptArtifactError",
    "DataError",
    "DependencyError",
    "FingerprintError",
    "LeakageError",
    "MissingDataError",
    "ModelError",
    "NotFittedError",
    "RecfusionError",
    "SwapRefusedError",
    "UnknownComponentError",
    "UnknownItemError",
    "UnknownUserError",
    "VersionError",
    "explain",
]


class RecfusionError(Exception):
    """Root of the tree; ``except RecfusionError`` catches everything raised on purpose."""


class ConfigError(RecfusionError, ValueError):
    """A configuration that does not describe an engine."""


class UnknownComponentError(ConfigError):
    """A component name that no installed distribution registers."""


class DataError(RecfusionError, ValueError):
    """Input data that cannot be used as it is."""


class BadRowError(DataError):
    """One malformed row.

    Attributes:
        source: file path, or the name of the frame.
        line: 1-based line of the file, or 0-based row of a frame.
        field: the column at fault.
    """

    def __init__(self, message: str, *, source: str = "", line: int = -1, field: str = "") -> None:
        super().__init__(message)
        self.source, self.line, self.field = source, line, field


class MissingDataError(DataError, FileNotFoundError):
    """A data file that is not there."""


class UnknownUserError(RecfusionError, KeyError):
    """A user without history, and no fallback configured."""

    __str__ = Exception.__str__  # KeyError shows the repr of its message


class UnknownItemError(RecfusionError, KeyError):
    """An item id that the catalogue does not hold."""

    __str__ = Exception.__str__


class NotFittedError(RecfusionError, RuntimeError):
    """A model asked to work before ``fit``."""


class ModelError(RecfusionError, RuntimeError):
    """A model that raised while it was asked, or whose answer breaks the contract of `Model`.

    Attributes:
        model: its name.
    """

    def __init__(self, message: str, *, model: str = "") -> None:
        super().__init__(message)
        self.model = model


class SwapRefusedError(RecfusionError, RuntimeError):
    """A fusion that a guard of `Engine.swap` kept out; the one in force stays.

    Attributes:
        report: the `fusion.serving.swapping.SwapReport` that it was judged by.
    """

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class LeakageError(RecfusionError, RuntimeError):
    """A stacker's score column whose model had seen the label it is to learn from."""


class FingerprintError(RecfusionError, ValueError):
    """Results measured under different protocols put side by side."""


class ArtifactError(RecfusionError, OSError):
    """A saved engine that cannot be trusted."""


class CorruptArtifactError(ArtifactError):
    """A missing, truncated or altered file, found by its SHA-256 before any parser read it."""


class VersionError(ArtifactError):
    """A saved engine of an incompatible format version."""


class DependencyError(RecfusionError, ImportError):
    """An optional package that is not installed."""


def explain(who: str, expected: str, got: str, do: str = "") -> str:
    """The one shape of every message: who noticed, what was expected, what came, what to do.

    >>> explain("EASE", "reg above 0", "-1", "use the default of 500")
    'EASE: expected reg above 0, got -1; use the default of 500'
    """
    return f"{who}: expected {expected}, got {got}" + (f"; {do}" if do else "")
