"""Fitting an engine: models on each window's past, the fusion on the windows, models on all."""

from __future__ import annotations

from collections.abc import Mapping

from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.data.splits import Split
from fusion.errors import ConfigError, DataError, explain
from fusion.fitting import fit_models
from fusion.kept_scores import score_all, scores_key
from fusion.pool import LivePool
from fusion.progress import stage
from fusion.protocols import FitContext, Labelled, Model, Provenance, Strategy, Windows
from fusion.stacking import cut_windows, popularity_share, targets_of

__all__ = ["learn", "train"]


def train(
    config: EngineConfig,
    models: Mapping[str, Model],
    strategy: Strategy,
    data: Dataset,
    context: FitContext,
) -> tuple[Labelled, ...]:
    """Fit everything; returns the windows that the fusion learnt from, the oldest first.

    Raises:
        DataError: the fusion learns and the data has no window for it.
        ModelError: a model failed while it scored a window; at fitting none is skipped.
    """
    splits = [] if config.stacking is None else cut_windows(config.stacking, data, context)
    if strategy.learns and not splits:
        raise DataError(
            explain(
                f"fusion {strategy.name}",
                "a window of events to learn from",
                "no `stacking:` in the config" if config.stacking is None else "too few events",
                "add a stacking section or more data",
            )
        )
    windows: tuple[Labelled, ...] = ()
    before = ""
    for split in splits:
        label = f"the window's past ({len(split.train):,})"
        keys = _fit(models, split.train, context, label, before)
        windows = (*windows, _score_window(models, split, keys, context))
        before = split.train.fingerprint
    learn(strategy, windows, context)
    _fit(models, data, context, f"all ({len(data):,})" if splits else "", before)
    return windows


def learn(strategy: Strategy, windows: Windows, context: FitContext) -> None:
    """Fit ``strategy`` on ``windows``, if it learns.

    Raises:
        ConfigError: it does, and there is no window.
    """
    if not strategy.learns:
        return
    if not windows:
        raise ConfigError(
            explain(
                f"fusion {strategy.name}",
                "an engine fitted with a stacking window",
                "one without",
                "fit again with `stacking:` in the config",
            )
        )
    with stage(f"learn the fusion ({strategy.name})", show=context.progress):
        strategy.fit(windows, context)


def _fit(
    models: Mapping[str, Model], data: Dataset, context: FitContext, label: str, before: str
) -> dict[str, str]:
    """Fit; or fit again, if the models were fitted on the data of fingerprint ``before``."""
    return fit_models(models, data, context, again=bool(before), after=before, label=label)


def _score_window(
    models: Mapping[str, Model], split: Split, keys: Mapping[str, str], context: FitContext
) -> Labelled:
    provenance = {name: model.provenance for name, model in models.items()}
    folder = None
    if context.workdir is not None:
        folder = context.workdir / "scores" / scores_key(keys, split.queries)
    with stage(f"score {len(split.queries):,} window queries", show=context.progress):
        pool = LivePool(split.queries, models, popularity_share(split.train))
        score_all(pool, folder, progress=context.progress)
        stored = pool.freeze()
    return Labelled(stored, targets_of(split), Provenance.of(split.train), provenance)
