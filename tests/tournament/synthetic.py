"""Synthetic windows and engines for the tournament's tests."""

from __future__ import annotations

from typing import Any

from fusion_layer.pools import window_of

from fusion.config import EngineConfig
from fusion.config_tournament import TournamentConfig
from fusion.protocols import Labelled

NOISE = {"strong": 0.45, "other": 0.5, "weak": 1.5}
RULES: dict[str, Any] = {
    "methods": ["rrf", "weighted_sum"],
    "normalizations": ["min_max", "z_score"],
    "stackers": [],
    "tuned": [],
    "folds": 3,
    "permutations": 999,
    "timed": 2,
}


def rules(**changes: Any) -> TournamentConfig:
    return TournamentConfig.model_validate({**RULES, **changes})


def window(n_queries: int = 300, seed: int = 0, **noise: float) -> Labelled:
    return window_of(n_queries, width=20, seed=seed, noise=noise or NOISE)


def engine_config(*models: str) -> EngineConfig:
    """An engine whose models have these names; only its `build_strategy` is used."""
    named = {name: {"type": "popularity"} for name in (models or tuple(NOISE))}
    return EngineConfig.from_mapping({"retrievers": named})
