"""The same fusion over fewer models: what is left of its configuration, and of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.candidates import Missing
from fusion.config import EngineConfig
from fusion.errors import ConfigError, explain
from fusion.pool import StoredPool
from fusion.protocols import Labelled, Strategy

__all__ = ["is_cascade", "restricted_pool", "restricted_window", "subset_fusion", "subset_strategy"]

#: a part of the configuration that has no model left
_GONE = object()


def is_cascade(fusion: Any) -> bool:
    """Whether any part of it has stages, which ask about what earlier ones kept."""
    if isinstance(fusion, Mapping):
        return "stages" in fusion or any(map(is_cascade, fusion.values()))
    return isinstance(fusion, list | tuple) and any(map(is_cascade, fusion))


def subset_fusion(
    fusion: Mapping[str, Any], models: Sequence[str], subset: Sequence[str]
) -> dict[str, Any]:
    """``fusion`` without the models that are not in ``subset``.

    Lists of models and weights lose their names; a stage or a nested fusion that has no model left
    goes. Where nothing is left, it is reciprocal rank fusion over the subset.

    >>> subset_fusion(
    ...     {"mode": "parallel", "weights": {"ease": 2.0, "bert": 1.0}}, ["ease", "bert"], ["ease"]
    ... )
    {'mode': 'parallel', 'weights': {'ease': 2.0}}

    Args:
        fusion: what stands under ``fusion:``, complete.
        models: every model of the engine.
        subset: those that may be asked; at least one.
    """
    left = _pruned(fusion, frozenset(models) - frozenset(subset))
    return dict(left) if isinstance(left, dict) else _rrf(subset)


def subset_strategy(
    config: EngineConfig, models: Sequence[str], subset: Sequence[str]
) -> tuple[Strategy, dict[str, Any]]:
    """An unfitted strategy over ``subset`` and its configuration: `subset_fusion`, if it fits.

    Where what is left makes no valid fusion, it is reciprocal rank fusion over the subset.
    """
    fusion = subset_fusion(config.fusion, models, subset)
    try:
        strategy = config.build_strategy(fusion)
        strategy.uses(tuple(subset))
    except ConfigError:
        fusion = _rrf(subset)
        strategy = config.build_strategy(fusion)
    return strategy, fusion


def _rrf(subset: Sequence[str]) -> dict[str, Any]:
    return {"mode": "parallel", "method": {"name": "rrf"}, "models": list(subset)}


def _pruned(value: Any, gone: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        below = value.get("fusions")
        if isinstance(below, Mapping):  # a sub-fusion without a model is gone like one
            gone |= {name for name, part in below.items() if _pruned(part, gone) is _GONE}
        out: dict[str, Any] = {}
        for key, part in value.items():
            if key == "model" and part in gone:
                return _GONE
            if key == "models" and isinstance(part, list | tuple):
                kept = [one for one in part if one not in gone]
                if not kept:
                    return _GONE
                out[key] = kept
                continue
            own = part
            if isinstance(part, Mapping):  # weights by name, dotted paths to them
                own = {n: one for n, one in part.items() if not gone & set(str(n).split("."))}
            left = _pruned(own, gone)
            if left is _GONE:
                return _GONE
            out[key] = left
        return out
    if isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        parts = [left for part in value if (left := _pruned(part, gone)) is not _GONE]
        return parts if parts else _GONE
    return value


def restricted_pool(pool: StoredPool, subset: Sequence[str]) -> StoredPool:
    """``pool`` as it were if the engine had only the models ``subset``.

    The candidates are those that one of its retrievers brought. A ranker's column is what it said
    of them in the whole pool; in a pool of its own its ``top`` might reach a few more.

    Raises:
        ConfigError: no retriever among them.
    """
    retrievers = tuple(name for name in pool.union.models if name in subset)
    if not retrievers:
        raise ConfigError(
            explain("subset of models", f"one of {', '.join(pool.union.models)}", str(subset))
        )
    union = pool.union.only(retrievers)
    absent = (Missing.NOT_RETRIEVED, Missing.TIMED_OUT)
    keep: npt.NDArray[np.bool_] = np.any(~np.isin(union.why, absent), axis=1)
    names = tuple(name for name in pool.models if name in subset)
    completed = pool.completed.only(names)
    return replace(pool, union=union.where(keep), completed=completed.where(keep))


def restricted_window(window: Labelled, subset: Sequence[str]) -> Labelled:
    """The same of a window whose pool is stored."""
    if not isinstance(window.pool, StoredPool):
        got = type(window.pool).__name__
        raise ConfigError(explain("subset of models", "a window with a stored pool", got))
    return replace(window, pool=restricted_pool(window.pool, subset))
