"""What a plug-in is: retrievers, rankers, fusion methods, normalisations and strategies.

Every component has one typed ``Config`` (unknown keys refused) and a ``name``, the key under which
it stands in the YAML. Models are fitted on a `Dataset` and asked in batches of `Queries`; they are
saved to and loaded from a folder of safetensors, JSON and native model files, never a pickle.
`fusion.testing` holds the contract suites that every plug-in's tests subclass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Catalog, Dataset
from fusion.errors import NotFittedError, explain
from fusion.missing import MissingPolicy
from fusion.queries import Queries

__all__ = [
    "Component",
    "ComponentConfig",
    "Explain",
    "FitContext",
    "Fittable",
    "Fused",
    "Labelled",
    "Method",
    "Model",
    "Normalization",
    "Pool",
    "Provenance",
    "Ranker",
    "RankerConfig",
    "Retriever",
    "RetrieverConfig",
    "Strategy",
    "Windows",
]


class ComponentConfig(BaseModel):
    """Base of every component's configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class RetrieverConfig(ComponentConfig):
    """What every retriever has."""

    n: int = Field(200, ge=1, description="how many candidates a query this retriever brings")


class RankerConfig(ComponentConfig):
    """What every ranker has."""

    top: int = Field(
        100,
        ge=1,
        description="score only the first so many candidates of a query, in the order of the "
        "retrievers' reciprocal ranks; the others are marked as filtered",
    )


@dataclass(frozen=True, slots=True)
class FitContext:
    """What a model needs to know while it is fitted.

    Attributes:
        seed: every random choice derives from it, see `rng`.
        workdir: a folder for checkpoints that may be resumed; ``None`` = keep none.
        progress: whether to show progress bars.
        catalog: the items, for a fusion that learns by their fields; ``None`` where there is none.
        fitted: the models that `Model.needs` names, fitted on the same events; empty otherwise.
    """

    seed: int = 0
    workdir: Path | None = None
    progress: bool = False
    catalog: Catalog | None = None
    fitted: Mapping[str, Model] = field(default_factory=dict)

    def rng(self, name: str) -> np.random.Generator:
        """A generator of its own for ``name``, so that one model's draws never move another's."""
        return np.random.default_rng([self.seed, *name.encode()])


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a model had seen when it gave its scores.

    Attributes:
        fingerprint: of the data set it was fitted on.
        interactions: how many events that was.
        newest: the newest timestamp among them, seconds; NaN without time.
    """

    fingerprint: str
    interactions: int
    newest: float

    @classmethod
    def of(cls, data: Dataset) -> Provenance:
        """The provenance of a model fitted on ``data``."""
        newest = float(data.interactions.times.max()) if data.has_time else float("nan")
        return cls(data.fingerprint, len(data), newest)


class Component:
    """Something that a YAML can name.

    Args:
        config: a ``Config``, or a mapping of its fields, or nothing for the defaults.
        name: the key in the YAML; the class's name by default.
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig

    def __init__(
        self, config: ComponentConfig | Mapping[str, Any] | None = None, *, name: str | None = None
    ) -> None:
        self.config: Any = (
            config
            if isinstance(config, self.Config)
            else self.Config.model_validate(dict(config or {}))
        )
        self.name = name or type(self).__name__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class Model(Component, ABC):
    """A retriever or a ranker: fitted once, asked often.

    Attributes:
        provenance: what it was fitted on; ``None`` before `fit`. Set by the engine.
    """

    provenance: Provenance | None = None

    def needs(self) -> tuple[str, ...]:
        """Names of models to be fitted before this one, and given to it; none by default.

        For example the retrievers that hard negatives are mined from. They are given in
        `FitContext.fitted`, and have seen every event that this model learns from.
        """
        return ()

    @abstractmethod
    def fit(self, data: Dataset, context: FitContext) -> None:
        """Learn from every event of ``data``; forget whatever was learnt before."""

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Learn from ``data``, a superset of what `fit` saw; may go on from there."""
        self.fit(data, context)

    @abstractmethod
    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """A score for every row of ``candidates`` (N,), or NaN with a reason.

        The score of a row depends on its query and its item only, never on the other rows.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted state into ``folder`` (it exists and is empty)."""

    @abstractmethod
    def load(self, folder: Path, data: Dataset) -> None:
        """Read what `save` wrote; ``data`` is the data set the model was fitted on."""

    def warm_up(self, *, progress: bool = False) -> None:
        """Do now what the first requests would have to wait for; nothing by default.

        It changes no score. What it computes of the catalogue is saved with the model.
        """

    def peak_rate(self) -> float | None:
        """Floating-point operations a second that the hardware reaches in this model's precision.

        Measured, for whoever wants to know how near a model comes (`recfusion profile`); ``None`` =
        the model does not count its operations.
        """
        return None

    def not_fitted(self) -> NotFittedError:
        """The error to raise when asked before `fit`."""
        return NotFittedError(explain(f"{self!r}", "a fitted model", "none", "call fit first"))


class Retriever(Model):
    """A model that can look at the whole catalogue."""

    @abstractmethod
    def retrieve(self, queries: Queries, n: int) -> Candidates:
        """Each query's ``n`` best items that are not in ``queries.excluded``, as one column.

        Fewer where the model knows fewer; none where it knows nothing of the query. The scores
        equal those that `score` gives for the same items.
        """


class Ranker(Model):
    """A model too costly for the whole catalogue; it scores what the retrievers found."""


class Fittable(Component):
    """A part of a fusion that may have something to learn from out-of-window scores.

    By default there is nothing: `learns` is false and the methods do nothing.
    """

    @property
    def learns(self) -> bool:
        """Whether `fit` must be called before use."""
        return False

    def fit(self, candidates: Candidates, labels: npt.NDArray[np.float32]) -> None:
        """Learn from the columns of ``candidates`` and ``labels`` (N,): 1 = the target, else 0."""

    def state(self) -> dict[str, Any]:
        """What was learnt, as JSON knows it (no NaN, no infinity); empty where there is nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""


class Normalization(Fittable, ABC):
    """Puts the scores of different models on one scale, query by query."""

    @abstractmethod
    def normalize(self, candidates: Candidates) -> npt.NDArray[np.float64]:
        """(N, M) float64 from the scores of ``candidates``; NaN stays NaN."""


class Method(Fittable, ABC):
    """A fusion method of the literature: one formula over the columns of `Candidates`."""

    @property
    def missing(self) -> MissingPolicy:
        """What stands for a missing score; the strategy completes or excludes by it."""
        return MissingPolicy()

    @abstractmethod
    def contributions(
        self, candidates: Candidates, weights: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """(N, M) float64: what each model gives to the fused score of each row.

        The fused score is the row's sum; never NaN. A model without a score for the row gives what
        the method says of missing scores, by default nothing.

        Args:
            weights: (M,) float64, one a model, never negative.
        """


Explain = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Fused:
    """A strategy's answer.

    Attributes:
        candidates: the rows it judged (a subset of the pool's, same queries).
        scores: (N,) float64, higher is better, never NaN.
        parts: names of the contributions: models, and what else enters (``"context"``...).
        explain: ``explain(rows)`` gives (R, P) float64 for the rows (R,): what each part gives to
            each row's score; a row sums to it. Computed when asked, since only the few rows that
            somebody looks at need it.
    """

    candidates: Candidates
    scores: npt.NDArray[np.float64]
    parts: tuple[str, ...]
    explain: Explain

    @classmethod
    def of(
        cls,
        candidates: Candidates,
        scores: npt.NDArray[np.float64],
        parts: tuple[str, ...],
        contributions: npt.NDArray[np.float64],
    ) -> Fused:
        """From ``contributions`` (N, P) of all rows, where they are there anyway."""
        return cls(candidates, scores, parts, contributions.__getitem__)

    @property
    def contributions(self) -> npt.NDArray[np.float64]:
        """(N, P) float64: `explain` of all rows."""
        return self.explain(np.arange(len(self.scores)))


class Pool(Protocol):
    """What a strategy may ask of the engine for one batch of queries."""

    @property
    def queries(self) -> Queries:
        """The batch."""

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of the engine, retrievers first, in the YAML's order."""

    @property
    def popularity(self) -> npt.NDArray[np.float64]:
        """(I,) float64: share of the events the models were fitted on that each item has."""

    def candidates(self) -> Candidates:
        """The union of the retrievers' lists, with the scores they came with."""

    def complete(self, candidates: Candidates, models: tuple[str, ...]) -> Candidates:
        """``candidates`` with exactly the columns ``models``, each model asked for every row.

        A ranker is asked for its ``top`` first rows only; see `RankerConfig`.
        """

    def take(self, queries: npt.NDArray[np.integer]) -> Pool:
        """The same of the queries ``queries`` (K,) only."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Out-of-window scores of one window with their labels: what a strategy may learn from.

    Attributes:
        pool: candidates and columns, from models fitted on the past of the window.
        labels: ``labels(candidates)`` gives (N,) float32, 1 for the item the user met next.
        past: provenance of the data every column's model must have been fitted on.
        provenance: model name -> what it was fitted on.
    """

    pool: Pool
    targets: npt.NDArray[np.int32]  # (Q,) item_index that each query met next
    past: Provenance
    provenance: Mapping[str, Provenance | None] = field(default_factory=dict)

    def labels(self, candidates: Candidates) -> npt.NDArray[np.float32]:
        """(N,) float32: 1 where the row's item is its query's target, else 0."""
        hit = np.equal(candidates.items, self.targets[candidates.rows])
        return hit.astype(np.float32)

    def take(self, queries: npt.NDArray[np.integer]) -> Labelled:
        """The queries ``queries`` (K,) only."""
        return replace(self, pool=self.pool.take(queries), targets=self.targets[queries])


#: one or more windows in time, the oldest first; the models of each had seen its past only
Windows = Sequence[Labelled]


class Strategy(Component, ABC):
    """Decides which models look at which candidates, and merges what they say."""

    @property
    def learns(self) -> bool:
        """Whether `fit` must be called before `fuse`."""
        return False

    @abstractmethod
    def uses(self, models: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the engine's ``models`` it asks.

        Raises:
            ConfigError: it names one that the engine does not have.
        """

    def fit(self, windows: Windows, context: FitContext) -> None:
        """Learn from out-of-window scores; nothing to learn by default."""

    @abstractmethod
    def fuse(self, pool: Pool) -> Fused:
        """Judge the pool's candidates."""

    def save(self, folder: Path) -> None:
        """Write what was learnt; nothing by default."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
