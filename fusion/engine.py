"""`Engine`: fits the models, asks them, fuses what they say. Orchestration only."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.data.splits import Split
from fusion.errors import ConfigError, DataError, NotFittedError, UnknownUserError, explain
from fusion.fitting import fit_models
from fusion.persistence import open_folder, save_folder
from fusion.pool import LivePool
from fusion.progress import stage, track
from fusion.protocols import FitContext, Fused, Labelled, Model, Provenance, Retriever, Strategy
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.recommendation import Recommendation
from fusion.stacking import cut_windows, load_windows, popularity_share, save_windows, targets_of
from fusion.topk import Top, top_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Engine"]

log = logging.getLogger(__name__)

ConfigLike = EngineConfig | Mapping[str, Any] | str | Path


class Engine:
    """A recommendation engine described by one configuration.

    >>> import pyarrow as pa
    >>> met = pa.table({"user_id": ["ann", "ann", "bob"], "item_id": ["tea", "milk", "tea"]})
    >>> engine = Engine.from_config({"retrievers": {"popularity": {}}})
    >>> [rec.item_id for rec in engine.fit(Dataset.from_frames(met)).recommend("bob")]
    ['milk']

    Args:
        config: a validated configuration; see `from_yaml` and `from_config`.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        retrievers, rankers, strategy = config.build()
        self._models: dict[str, Model] = {**retrievers, **rankers}
        self._strategy: Strategy = strategy
        strategy.uses(tuple(self._models))
        self._data: Dataset | None = None
        self._windows: tuple[Labelled, ...] = ()
        self._popularity: npt.NDArray[np.float64] = np.empty(0)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Engine:
        """An unfitted engine from a YAML file.

        Raises:
            ConfigError: every fault of the file, each with line, column and what was expected.
        """
        return cls(EngineConfig.from_yaml(path))

    @classmethod
    def from_config(cls, config: EngineConfig | Mapping[str, Any]) -> Engine:
        """An unfitted engine from a mapping of the same shape as the YAML."""
        if not isinstance(config, EngineConfig):
            config = EngineConfig.from_mapping(config)
        return cls(config)

    def __repr__(self) -> str:
        state = "not fitted" if self._data is None else repr(self._data)
        return f"Engine({', '.join(self._models)} -> {self._strategy!r}; {state})"

    @property
    def data(self) -> Dataset:
        """What the engine was fitted on.

        Raises:
            NotFittedError: before `fit`.
        """
        if self._data is None:
            raise NotFittedError(explain("Engine", "a fitted engine", "none", "call fit or load"))
        return self._data

    @property
    def models(self) -> Mapping[str, Model]:
        """Every model by name, retrievers first."""
        return self._models

    @property
    def strategy(self) -> Strategy:
        """The fusion in force."""
        return self._strategy

    @property
    def windows(self) -> tuple[Labelled, ...]:
        """The out-of-window scores that strategies learn from, the oldest window first."""
        return self._windows

    def fit(
        self, data: Dataset, *, workdir: str | Path | None = None, progress: bool = False
    ) -> Engine:
        """Fine-tune and fit every model, learn the fusion, and fit the models again on everything.

        Args:
            data: training events; what is to be predicted must not be among them.
            workdir: keep checkpoints and fitted models here and go on from them after an
                interruption.
            progress: show stages and progress bars on standard error.

        Returns:
            The engine itself.

        Raises:
            DataError: ``data`` has no event, or lacks what a model needs.
        """
        data.require_events("Engine.fit")
        folder = None if workdir is None else Path(workdir)
        context = FitContext(self.config.seed, folder, progress)
        stacking = self.config.stacking
        splits = [] if stacking is None else cut_windows(stacking, data, context)
        self._data, self._windows = None, ()
        if self._strategy.learns and not splits:
            raise DataError(
                explain(
                    f"fusion {self._strategy.name}",
                    "a window of events to learn from",
                    "no `stacking:` in the config" if stacking is None else "too few events",
                    "add a stacking section or more data",
                )
            )
        before = ""
        for split in splits:
            self._fit_models(
                split.train, context, f"the window's past ({len(split.train):,})", before
            )
            self._windows = (*self._windows, self._score_window(split, progress))
            before = split.train.fingerprint
        self._learn(self._strategy, context)
        self._fit_models(data, context, f"all ({len(data):,})" if splits else "", before)
        self._data = data
        self._popularity = popularity_share(data)
        return self

    def _fit_models(self, data: Dataset, context: FitContext, label: str, before: str) -> None:
        """Fit; or fit again, if the models were fitted on the data of fingerprint ``before``."""
        fit_models(self._models, data, context, again=bool(before), after=before, label=label)

    def _score_window(self, split: Split, progress: bool) -> Labelled:
        provenance = {name: model.provenance for name, model in self._models.items()}
        with stage(f"score {len(split.queries):,} window queries", show=progress):
            pool = LivePool(
                split.queries, self._models, popularity_share(split.train), progress=progress
            ).freeze()
        return Labelled(pool, targets_of(split), Provenance.of(split.train), provenance)

    def _learn(self, strategy: Strategy, context: FitContext) -> None:
        if not strategy.learns:
            return
        if not self._windows:
            raise ConfigError(
                explain(
                    f"fusion {strategy.name}",
                    "an engine fitted with a stacking window",
                    "one without",
                    "fit again with `stacking:` in the config",
                )
            )
        with stage(f"learn the fusion ({strategy.name})", show=context.progress):
            strategy.fit(self._windows, context)

    def recommend(
        self,
        user_id: str | None = None,
        k: int = 10,
        *,
        history: Sequence[str] | None = None,
        exclude_seen: bool | None = None,
    ) -> list[Recommendation]:
        """The ``k`` best items for a known user, or for a raw history.

        Args:
            user_id: a user of the fitted data; an unknown one is answered by the configured
                fallback.
            k: how many; fewer come back where fewer are left that any model can suggest.
            history: item ids, oldest first, instead of ``user_id``.
            exclude_seen: leave out the items of the history (default: as configured).

        Raises:
            UnknownUserError: the user is unknown and no fallback is configured.
            UnknownItemError: ``history`` names an item that the catalogue does not hold.
            DataError: neither or both of user and history, or ``k`` below 1.
        """
        if (user_id is None) == (history is None):
            raise DataError(explain("recommend", "a user_id or a history", "neither or both"))
        if isinstance(history, str):
            raise DataError(explain("recommend", "history as a list of item ids", repr(history)))
        if history is None:
            assert user_id is not None
            queries = self._queries([user_id], exclude_seen)
        else:
            queries = self._from_history(history, exclude_seen)
        top = self._top(queries, _checked_k(k))
        ids, titles = self.data.catalog.ids, self.data.catalog.titles
        return [
            Recommendation(
                ids[item],
                float(score),
                rank,
                {p: float(v) for p, v in zip(top.parts, given, strict=True)},
                titles[item],
            )
            for rank, (item, score, given) in enumerate(
                zip(top.items, top.scores, top.contributions, strict=True), start=1
            )
        ]

    def recommend_many(
        self,
        user_ids: Sequence[str],
        k: int = 10,
        *,
        exclude_seen: bool | None = None,
        progress: bool = False,
        batch: int = 256,
    ) -> pa.Table:
        """The ``k`` best items for each of many users.

        Returns:
            A table with the columns user_id (string), item_id (string), score (float64) and rank
            (int32, from 1), users in the order given, best items first.

        Raises:
            UnknownUserError, DataError: as `recommend`.
        """
        import pyarrow as pa

        _checked_k(k)
        ids = np.array(self.data.catalog.ids, dtype=object)
        users: list[str] = []
        items: list[npt.NDArray[Any]] = []
        scores: list[npt.NDArray[np.float64]] = []
        ranks: list[npt.NDArray[np.int32]] = []
        names = list(user_ids)
        starts = range(0, len(names), batch)
        for start in track(starts, "recommend", total=len(starts), show=progress):
            part = names[start : start + batch]
            top = self._top(self._queries(part, exclude_seen), k, explain=False)
            users += [u for u, n in zip(part, np.diff(top.offsets), strict=True) for _ in range(n)]
            items.append(ids[top.items])
            scores.append(top.scores)
            ranks.append(top.ranks)
        return pa.table(
            {
                "user_id": pa.array(users, pa.string()),
                "item_id": pa.array([i for part in items for i in part], pa.string()),
                "score": pa.array(np.concatenate([np.empty(0), *scores])),
                "rank": pa.array(np.concatenate([np.empty(0, np.int32), *ranks])),
            }
        )

    def swap(self, config: ConfigLike) -> None:
        """Put another fusion over the same fitted models; no base model is fitted again.

        Args:
            config: a YAML file, a mapping or a configuration. It may hold a ``fusion:`` section
                only; where it names models, they must be the ones that were fitted.

        Raises:
            ConfigError: the models differ, or the fusion must learn and the engine has no window.
                The fusion in force stays.
        """
        new = EngineConfig.overlay(self.config, config)
        for part in ("retrievers", "rankers"):
            if getattr(new, part) != getattr(self.config, part):
                raise ConfigError(
                    explain(
                        f"swap, {part}",
                        f"the fitted models {getattr(self.config, part)}",
                        str(getattr(new, part)),
                        "fit a new engine to change its models",
                    )
                )
        strategy = new.build_strategy()
        strategy.uses(tuple(self._models))
        if self._data is not None:
            self._learn(strategy, FitContext(new.seed))
        self.config, self._strategy = new, strategy

    def learnt(self, fusion: Mapping[str, Any], *, progress: bool = False) -> Strategy:
        """A strategy over the fitted models, ready to fuse; the one in force stays.

        Args:
            fusion: what stands under ``fusion:`` in a YAML.
        """
        strategy = self.config.build_strategy(fusion)
        strategy.uses(tuple(self._models))
        self._learn(strategy, FitContext(self.config.seed, None, progress))
        return strategy

    @contextmanager
    def using(self, strategy: Strategy) -> Iterator[None]:
        """Inside the ``with``, a strategy that is ready to fuse, such as one from `learnt`."""
        strategy.uses(tuple(self._models))
        before, self._strategy = self._strategy, strategy
        try:
            yield
        finally:
            self._strategy = before

    def save(self, path: str | Path) -> None:
        """Write the fitted engine into the folder ``path``, all of it or nothing.

        Raises:
            NotFittedError: before `fit`.
            ArtifactError: ``path`` is a folder that is not a saved engine.
        """
        data = self.data

        def write(folder: Path) -> None:
            from fusion.data.storage import save_dataset

            (folder / "data").mkdir()
            save_dataset(folder / "data", data)
            for name, model in self._models.items():
                (folder / "models" / name).mkdir(parents=True)
                model.save(folder / "models" / name)
            (folder / "strategy").mkdir()
            self._strategy.save(folder / "strategy")
            if self._windows:
                (folder / "windows").mkdir()
                save_windows(folder / "windows", self._windows)

        save_folder(Path(path), write, meta={"kind": "engine", "config": self.config.to_dict()})

    @classmethod
    def load(cls, path: str | Path) -> Engine:
        """Read what `save` wrote; every file's SHA-256 is checked before it is parsed.

        Raises:
            CorruptArtifactError: a file is missing, truncated, altered or not of the engine.
            VersionError: written by an incompatible version.
        """
        from fusion.data.storage import load_dataset

        folder = Path(path)
        meta = open_folder(folder)
        engine = cls.from_config(meta["config"])
        data = load_dataset(folder / "data")
        for name, model in engine._models.items():
            model.load(folder / "models" / name, data)
            model.provenance = Provenance.of(data)
        engine._strategy.load(folder / "strategy")
        if (folder / "windows").is_dir():
            engine._windows = load_windows(folder / "windows")
        engine._data, engine._popularity = data, popularity_share(data)
        return engine

    def pool(self, queries: Queries, *, depth: int = 0, progress: bool = False) -> LivePool:
        """The candidates of ``queries`` (their items indexed by the engine's data)."""
        return LivePool(queries, self._models, self._popularity, depth=depth, progress=progress)

    def _queries(self, user_ids: Sequence[str], exclude_seen: bool | None) -> Queries:
        data = self.data
        exclude = self.config.exclude_seen if exclude_seen is None else exclude_seen
        found = np.empty(len(user_ids), np.int64)
        for q, name in enumerate(user_ids):
            if self.config.fallback is not None and isinstance(name, str):
                found[q] = data.users.get(name)
            else:
                found[q] = data.users.index(name)
        if (found >= 0).all():
            return data.queries(found, exclude_seen=exclude)
        nobody = Queries.from_history(Ragged.empty(1))
        return Queries.concatenate(
            [
                nobody if user < 0 else data.queries(np.array([user]), exclude_seen=exclude)
                for user in found
            ]
        )

    def _from_history(self, history: Sequence[str], exclude_seen: bool | None) -> Queries:
        exclude = self.config.exclude_seen if exclude_seen is None else exclude_seen
        items = self.data.catalog.vocabulary.indices(list(history))
        if len(items) == 0 and self.config.fallback is None:
            raise UnknownUserError(
                explain(
                    "recommend",
                    "a history of at least one item",
                    "an empty one",
                    "name a `fallback:` in the config to answer anyway",
                )
            )
        return Queries.from_history(Ragged.of([items]), exclude_seen=exclude)

    def _top(self, queries: Queries, k: int, *, explain: bool = True) -> Top:
        known = queries.history.lengths > 0
        where = [np.flatnonzero(known), np.flatnonzero(~known)]
        parts = []
        if known.any():
            fused = self._strategy.fuse(self.pool(queries.take(where[0]), depth=k))
            parts.append(top_of(fused, k, explain=explain))
        if not known.all():
            parts.append(self._fall_back(queries.take(where[1]), k))
        if len(parts) == 1:
            return parts[0]
        return Top.interleave(parts, where) if parts else Top.empty()

    def _fall_back(self, queries: Queries, k: int) -> Top:
        """Without history there is nothing to fuse: the fallback's own list, or an error."""
        name = self.config.fallback
        if name is None:
            raise UnknownUserError(
                explain(
                    "recommend",
                    "a user with at least one event",
                    "one without history",
                    "name a `fallback:` in the config to answer anyway",
                )
            )
        model = self._models[name]
        assert isinstance(model, Retriever)
        found = model.retrieve(queries, k)
        scores = found.scores[:, 0].astype(np.float64)
        return top_of(Fused.of(found, scores, (name,), scores[:, None]), k)


def _checked_k(k: int) -> int:
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        raise DataError(explain("recommend", "k as a whole number of at least 1", repr(k)))
    return int(k)
