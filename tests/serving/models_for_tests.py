"""Models that misbehave on purpose, and engines that hold them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from fusion import Dataset, Engine
from fusion.candidates import Candidates, Scores
from fusion.protocols import FitContext, Ranker, RankerConfig, Retriever, RetrieverConfig
from fusion.queries import Queries
from fusion.ragged import Ragged


class HookConfig(RankerConfig):
    """Settings of `Hooked`."""

    sign: int = Field(1, description="1 = prefer high indices, -1 = low ones")


class Hooked(Ranker):
    """Prefers high item indices until ``hook(scores)`` says something else."""

    Config = HookConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hook: Callable[[Scores], Any] | None = None
        self.sleep = 0.0
        self.fits = self.asked = 0

    def fit(self, data: Dataset, context: FitContext) -> None:
        del data, context
        self.fits += 1

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        del queries
        self.asked += 1
        time.sleep(self.sleep)
        good = Scores.of(self.config.sign * candidates.items.astype(np.float32))
        return good if self.hook is None else self.hook(good)

    def save(self, folder: Path) -> None:
        (folder / "hooked.json").write_text("{}")

    def load(self, folder: Path, data: Dataset) -> None:
        del folder, data


class HookedRetriever(Retriever):
    """Brings the ``n`` lowest unseen items; ``hook(candidates)`` may spoil the list."""

    Config = RetrieverConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hook: Callable[[Candidates], Any] | None = None
        self.sleep = 0.0
        self.fits = self.asked = 0

    def fit(self, data: Dataset, context: FitContext) -> None:
        del context
        self.n_items = data.n_items
        self.fits += 1

    def retrieve(self, queries: Queries, n: int) -> Candidates:
        self.asked += 1
        time.sleep(self.sleep)
        lists = Ragged.of(
            [
                [i for i in range(self.n_items) if i not in set(seen)][:n]
                for seen in queries.excluded
            ]
        )
        scores = -lists.values.astype(np.float32)
        good = Candidates.single(self.name, lists.offsets, lists.values, scores)
        return good if self.hook is None else self.hook(good)

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        del queries
        return Scores.of(-candidates.items.astype(np.float32))

    def save(self, folder: Path) -> None:
        (folder / "hooked.json").write_text(str(self.n_items))

    def load(self, folder: Path, data: Dataset) -> None:
        self.n_items = data.n_items


CONFIG: dict[str, Any] = {
    "seed": 3,
    "retrievers": {
        "ease": {"reg": 20},
        "low": {"type": "models_for_tests:HookedRetriever", "n": 10},
    },
    "rankers": {"high": {"type": "models_for_tests:Hooked", "top": 100}},
    "fusion": {"mode": "parallel", "method": "rrf"},
    "stacking": {"events": 2},
}


def engine_of(data: Dataset, **sections: Any) -> Engine:
    return Engine.from_config({**CONFIG, **sections}).fit(data)


def ids(recs: list[Any]) -> list[str]:
    return [rec.item_id for rec in recs]


def failing(*_: object) -> Any:
    raise ZeroDivisionError("boom")


def skip(**more: Any) -> Mapping[str, Any]:
    return {"on_model_error": "skip", **more}
