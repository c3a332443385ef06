"""What a configuration is worth: the metric of its fused lists on validation windows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.benchmark import split_for
from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.data.splits import Split
from fusion.engine import Engine
from fusion.errors import DataError, explain
from fusion.evaluation.metrics import per_query
from fusion.ragged import Ragged
from fusion.topk import top_of

__all__ = ["Objective", "validation_windows"]

log = logging.getLogger(__name__)

#: a trial's queries are judged in so many parts, and may be given up after each
PARTS = 4

#: called with a step from 0 and the value so far; it raises to give the trial up
Report = Callable[[int, float], None]


def validation_windows(
    config: EngineConfig, data: Dataset, windows: int = 1, max_queries: int | None = None
) -> list[Split]:
    """Splits of what is left once the test events are cut off; the newest comes first.

    The test side is the one that ``config.evaluation`` describes. Only its train side is used: it
    is split again in the same way, and for more windows the train side of that, and so on.

    Args:
        config: its ``evaluation`` says how to split, its ``seed`` draws.
        data: everything, test events included.
        windows: how many.
        max_queries: judge so many queries of each window, drawn at random; ``None`` = all.

    Raises:
        DataError: the data has not so many windows.
    """
    past = split_for(config.evaluation, data, config.seed).train
    found: list[Split] = []
    for window in range(windows):
        try:
            split = split_for(config.evaluation, past, config.seed)
        except DataError as error:
            raise DataError(
                explain("search", f"events for {windows} window(s)", f"for {window}", str(error))
            ) from error
        past = split.train
        rng = np.random.default_rng([config.seed, window, *b"validation queries"])
        order = rng.permutation(len(split))
        found.append(split.take(order if max_queries is None else order[:max_queries]))
    return found


@dataclass
class Objective:
    """The mean of one metric over the queries of every window, higher is better.

    Attributes:
        windows: with their queries in a random order: the first part of them stands for all.
        metric: a name for `fusion.evaluation.metrics.per_query`, with its cutoff.
        folder: fitted models are kept there and found again.
        retrievers_first: judge the retrievers before rankers are fitted; see `value`.
    """

    windows: list[Split]
    metric: str
    folder: Path
    retrievers_first: bool = False

    @property
    def steps(self) -> int:
        """How often a whole trial reports."""
        return sum(self.retrievers_first + _parts(split) for split in self.windows)

    def value(self, config: EngineConfig, report: Report = lambda step, value: None) -> float:
        """The mean over all queries.

        It reports the mean so far after each part of the queries and, with ``retrievers_first``,
        what reciprocal rank fusion of the retrievers alone is worth before a ranker is fitted.
        Models that were fitted before with the same settings on the same events are loaded.

        Raises:
            ConfigError: a model does not take its settings after all.
        """
        config = trimmed(config)
        step, values = 0, np.empty(0)
        for split in self.windows:
            if self.retrievers_first:
                engine = self._fitted(without_rankers(config), split)
                report(step, float(self._judged(engine, split, slice(None)).mean()))
                step += 1
            engine = self._fitted(config, split)
            for part in _slices(split):
                values = np.concatenate([values, self._judged(engine, split, part)])
                report(step, float(values.mean()))
                step += 1
        return float(values.mean())

    def _fitted(self, config: EngineConfig, split: Split) -> Engine:
        return Engine.from_config(config).fit(split.train, workdir=self.folder)

    def _judged(self, engine: Engine, split: Split, part: slice) -> npt.NDArray[np.float64]:
        which = np.arange(len(split))[part]
        k = int(self.metric.rpartition("@")[2])
        fused = engine.strategy.fuse(engine.pool(split.queries.take(which)))
        top = top_of(fused, k, explain=False).matrix(k)
        targets: Ragged = split.targets.take(which)
        return per_query(top, targets, [self.metric])[self.metric]


def trimmed(config: EngineConfig) -> EngineConfig:
    """The parts of ``config`` that the fused lists of validation queries depend on.

    A stacking window that nothing learns from is left out: models need not be fitted for it.
    """
    raw = config.to_dict()
    kept: dict[str, Any] = {key: raw[key] for key in ("seed", "retrievers", "rankers", "fusion")}
    kept["stacking"] = raw["stacking"] if config.build_strategy().learns else None
    return EngineConfig.from_mapping(kept)


def without_rankers(config: EngineConfig) -> EngineConfig:
    """The retrievers of ``config``, fitted on the same windows, under reciprocal rank fusion."""
    raw: Mapping[str, Any] = config.to_dict()
    return EngineConfig.from_mapping(
        {"seed": raw["seed"], "retrievers": raw["retrievers"], "stacking": raw["stacking"]}
    )


def _parts(split: Split) -> int:
    return max(1, min(PARTS, len(split) // 25))  # a mean of fewer says nothing


def _slices(split: Split) -> Iterator[slice]:
    bounds = np.linspace(0, len(split), _parts(split) + 1).astype(int)
    for start, end in pairwise(bounds.tolist()):
        yield slice(start, end)
