"""One model fitted several times from other seeds, whose scores are averaged.

What one fitting owes to its seed (the order of examples, dropout, the first weights of a head) the
mean has less of: a deep ensemble (Lakshminarayanan, Pritzel and Blundell 2017, arXiv:1612.01474).
It costs as many times as much to ask as there are copies; fine-tuned models can have their weights
averaged instead, see the option ``seeds`` of theirs.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Dataset
from fusion.errors import ArtifactError
from fusion.persistence import open_folder, save_folder
from fusion.protocols import (
    ComponentConfig,
    FitContext,
    Model,
    Ranker,
    RankerConfig,
    Retriever,
    RetrieverConfig,
)
from fusion.queries import Queries
from fusion.ragged import segment_rank
from fusion.registry import resolve

__all__ = ["SeedAverageRanker", "SeedAverageRetriever"]

log = logging.getLogger(__name__)


class _Averaged(ComponentConfig):
    """What both have."""

    _group: ClassVar[str]

    model: str = Field(
        description="the model to fit several times: a registered name, module:Class"
    )
    seeds: int = Field(3, ge=1, description="how many copies; asking costs so many times as much")
    # after `model`, which says what they are
    options: dict[str, Any] = Field(
        default_factory=dict, description="of that model", validate_default=True
    )

    @field_validator("model")
    @classmethod
    def _known(cls, value: str) -> str:
        resolve(cls._group, value)
        return value

    @field_validator("options")
    @classmethod
    def _filled(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """With the model's defaults, so that a saved configuration says all of it."""
        if "model" not in info.data:  # it is at fault, and said so
            return value
        config = resolve(cls._group, info.data["model"]).Config
        return config.model_validate_json(json.dumps(value), strict=True).model_dump(mode="json")


class SeedAverageRetrieverConfig(_Averaged, RetrieverConfig):
    """Options of `SeedAverageRetriever`."""

    _group: ClassVar[str] = "retrievers"


class SeedAverageRankerConfig(_Averaged, RankerConfig):
    """Options of `SeedAverageRanker`."""

    _group: ClassVar[str] = "rankers"


class _SeedAverage(Model):
    """The copies, whatever kind of model they are."""

    Config: ClassVar[type[_Averaged]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind: Any = resolve(self.Config._group, self.config.model)
        self._copies: list[Any] = [
            kind(dict(self.config.options), name=f"{self.name}_{n}")
            for n in range(self.config.seeds)
        ]
        self._fitted = False

    @property
    def copies(self) -> Sequence[Model]:
        """The fitted copies.

        Raises:
            NotFittedError: before `fit`.
        """
        if not self._fitted:
            raise self.not_fitted()
        return self._copies

    def needs(self) -> tuple[str, ...]:
        """What the model itself needs."""
        found: tuple[str, ...] = self._copies[0].needs()
        return found

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Fit every copy; an interrupted fit finds those that were ready."""
        self._each(data, context, again=False)

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Refit every copy."""
        self._each(data, context, again=True)

    def _each(self, data: Dataset, context: FitContext, *, again: bool) -> None:
        self._fitted = False
        for n, model in enumerate(self._copies):
            seed = int(context.rng(f"seed_average-{n}").integers(2**31))
            own = replace(context, seed=seed)
            if context.workdir is None:
                (model.refit if again else model.fit)(data, own)
                continue
            kept = context.workdir / f"copy-{n}"
            if _ready(kept):
                model.load(kept, data)
                continue
            scratch = context.workdir / f"checkpoints-{n}"
            (model.refit if again else model.fit)(data, replace(own, workdir=scratch))
            save_folder(kept, model.save, meta={"model": model.name})
        if context.workdir is not None:
            for n in range(len(self._copies)):
                shutil.rmtree(context.workdir / f"copy-{n}", ignore_errors=True)
        self._fitted = True

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """The mean over the copies that have a score; the first copy's reason where none has."""
        return _mean([model.score(queries, candidates) for model in self.copies])

    def save(self, folder: Path) -> None:
        """Each copy into a folder of its own."""
        for n, model in enumerate(self.copies):
            own = folder / f"copy-{n}"
            own.mkdir()
            model.save(own)

    def load(self, folder: Path, data: Dataset) -> None:
        """Read what `save` wrote."""
        for n, model in enumerate(self._copies):
            model.load(folder / f"copy-{n}", data)
        self._fitted = True

    def warm_up(self, *, progress: bool = False) -> None:
        """Every copy."""
        for model in self.copies:
            model.warm_up(progress=progress)

    def peak_rate(self) -> float | None:
        """That of a copy."""
        rate: float | None = self._copies[0].peak_rate()
        return rate


class SeedAverageRetriever(_SeedAverage, Retriever):
    """A retriever fitted from several seeds; the score is the mean of the copies' scores.

    An item that no copy lists among its own ``n`` best is not found, whatever its mean.

    Raises:
        ConfigError: no such retriever, or options that are not its own.
    """

    Config: ClassVar[type[SeedAverageRetrieverConfig]] = SeedAverageRetrieverConfig

    def retrieve(self, queries: Queries, n: int) -> Candidates:
        """The best ``n`` of what the copies list, by the mean over all of them."""
        lists = [
            replace(model.retrieve(queries, n), models=(f"copy-{number}",))
            for number, model in enumerate(self._retrievers())
        ]
        union = Candidates.union(lists)
        bare = Candidates.bare(union.offsets, union.items)
        scored = bare.with_scores(self.name, self.score(queries, bare))
        values = scored.scores[:, 0]
        _, rank = segment_rank(scored.offsets, (scored.items, -values))
        return scored.where((rank <= n) & ~np.isnan(values))

    def _retrievers(self) -> list[Retriever]:
        return [model for model in self.copies if isinstance(model, Retriever)]


class SeedAverageRanker(_SeedAverage, Ranker):
    """A ranker fitted from several seeds; the score is the mean of the copies' scores.

    Raises:
        ConfigError: no such ranker, or options that are not its own.
    """

    Config: ClassVar[type[SeedAverageRankerConfig]] = SeedAverageRankerConfig


def _mean(told: Sequence[Scores]) -> Scores:
    values: npt.NDArray[np.float64] = np.stack([scores.values for scores in told]).astype(float)
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return Scores(mean, np.where(count > 0, np.uint8(0), told[0].why).astype(np.uint8))


def _ready(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        open_folder(folder)
    except ArtifactError as error:
        log.warning("%s is fitted again: %s", folder.name, error)
        return False
    return True
