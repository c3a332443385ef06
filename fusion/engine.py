"""`Engine`: fits the models, asks them, fuses what they say. Orchestration only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.persistence import open_folder, save_folder
from fusion.protocols import FitContext, Model, Provenance
from fusion.serving.answering import Models
from fusion.serving.calibrating import load_calibration, save_calibration
from fusion.serving.control import Control
from fusion.serving.costs import Costs
from fusion.serving.requests import Recent
from fusion.stacking import load_windows, popularity_share, save_windows
from fusion.training import train

__all__ = ["Engine"]


class Engine(Control):
    """A recommendation engine described by one configuration.

    >>> import pyarrow as pa
    >>> met = pa.table({"user_id": ["ann", "ann", "bob"], "item_id": ["tea", "milk", "tea"]})
    >>> engine = Engine.from_config({"retrievers": {"popularity": {}}})
    >>> [rec.item_id for rec in engine.fit(Dataset.from_frames(met)).recommend("bob")]
    ['milk']

    Args:
        config: a validated configuration; see `from_yaml` and `from_config`.
    """

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

    @classmethod
    def of_models(cls, config: EngineConfig, models: Mapping[str, Model], data: Dataset) -> Engine:
        """An engine of models that are fitted already, whose fusion has nothing to learn.

        Args:
            config: names every one of ``models``.
            models: name -> model, fitted on ``data``; they are shared, not copied.
            data: what they were fitted on.
        """
        engine = cls.from_config(config)
        engine._models.update(models)
        engine._start(data, Costs())
        return engine

    def __repr__(self) -> str:
        state = "not fitted" if self._fitted is None else repr(self._fitted.data)
        return f"Engine({', '.join(self._models)} -> {self.strategy!r}; {state})"

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
            ModelError: a model failed while it was asked for out-of-window scores.
        """
        data.require_events("Engine.fit")
        if self._state.after is not None:  # a field that is not there is told before hours of work
            self._state.after.bind(data.catalog)
        folder = None if workdir is None else Path(workdir)
        context = FitContext(self.config.seed, folder, progress, data.catalog)
        self._fitted, self._windows = None, ()
        self._windows = train(self.config, self._models, self.strategy, data, context)
        self._start(data, Costs())
        return self

    def _start(self, data: Dataset, costs: Costs) -> None:
        """Ready to answer: what was learnt of another fit is forgotten."""
        self._fitted = Models(self._models, data, popularity_share(data), costs=costs)
        self._judged, self._previous = {}, []
        self._recent = Recent(self.config.serving.remember)
        self._state = self._with_shadow(replace(self._state, calibration=None, shadow=None))

    def save(self, path: str | Path) -> None:
        """Write the fitted engine into the folder ``path``, all of it or nothing.

        Raises:
            NotFittedError: before `fit`.
            ArtifactError: ``path`` is a folder that is not a saved engine.
        """
        models, state = self._ready, self._state

        def write(folder: Path) -> None:
            from fusion.data.storage import save_dataset

            (folder / "data").mkdir()
            save_dataset(folder / "data", models.data)
            for name, model in models.by_name.items():
                (folder / "models" / name).mkdir(parents=True)
                model.save(folder / "models" / name)
            (folder / "strategy").mkdir()
            state.strategy.save(folder / "strategy")
            if self._windows:
                (folder / "windows").mkdir()
                save_windows(folder / "windows", self._windows)
            if state.calibration is not None:
                (folder / "deadline").mkdir()
                save_calibration(folder / "deadline", state.calibration, models.costs)

        save_folder(Path(path), write, meta={"kind": "engine", "config": state.config.to_dict()})

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
        engine.strategy.load(folder / "strategy")
        if (folder / "windows").is_dir():
            engine._windows = load_windows(folder / "windows")
        found, costs = None, Costs()
        if (folder / "deadline").is_dir():
            found, costs = load_calibration(folder / "deadline", engine._state)
        engine._start(data, costs)
        engine._state = replace(engine._state, calibration=found)
        return engine
