"""What the fine-tuning scripts share: large models, their zero-shot twins, one number a model.

Everything here is judged on the validation: each user's last event is the test and is never looked
at, the one before it is asked for, and models learn from what lies before that. A retriever ranks
the whole catalogue. A ranker orders what the other retrievers of the configuration bring, beside
which stands what a random order of the same items would reach.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from common import DATA_SETS, arguments, configured, source_of

from finetuning.running import Curve, curves
from fusion._version import __version__
from fusion.atomic import write_text
from fusion.candidates import Candidates
from fusion.config import EngineConfig
from fusion.data.dataset import Dataset
from fusion.data.splits import Split, leave_last_out
from fusion.errors import ConfigError, RecfusionError, explain
from fusion.evaluation.fingerprint import Fingerprint
from fusion.evaluation.metrics import per_query
from fusion.evaluation.significance import mean_interval
from fusion.fitting import fit_models
from fusion.profiling.machine import this_machine
from fusion.progress import stage
from fusion.protocols import FitContext, Model, Retriever
from fusion.ragged import segment_rank

K = 10
METRICS = (f"NDCG@{K}", f"HR@{K}", "HR@100")

#: by type of model: what its options are where nothing is trained
ZERO_SHOT: Mapping[str, Mapping[str, Any]] = {
    "dense": {"train": {"max_pairs": 0}},
    "bert": {"max_steps": 0},
    "gpt": {"tune": "none"},
}


def options(doc: str | None, name: str, argv: Sequence[str] | None, *more: Any) -> Any:
    """The parsed command line; each of ``more`` adds its options to the parser."""
    parser = arguments((doc or "\n").splitlines()[0], f"runs/finetuning/{name}")
    parser.add_argument("--data-set", choices=DATA_SETS, help="instead of the configured data")
    parser.add_argument("--models", nargs="+", help="of the configuration; by default the large")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the configured one")
    parser.add_argument("--candidates", type=int, default=100, help="a retriever, for rankers")
    for add in more:
        add(parser)
    return parser.parse_args(argv)


def exits(name: str, run: Callable[[], None]) -> None:
    """Run; a mistake that the user can mend is one line and exit status 2."""
    try:
        run()
    except RecfusionError as error:
        sys.stderr.write(f"{name}: error: {error}\n")
        sys.exit(2)


def opened(args: argparse.Namespace) -> tuple[EngineConfig, Dataset]:
    """The configuration and its data."""
    return configured(source_of(args.data_set, args.data) if args.data_set else {}, args)


def large_models(config: EngineConfig, wanted: Sequence[str] | None = None) -> dict[str, str]:
    """Name -> type of the models that this can measure, or of those ``wanted``.

    Raises:
        ConfigError: none, or one that is wanted is not among them.
    """
    named = {**config.retrievers, **config.rankers}
    types = {name: str(spec.get("type", name)) for name, spec in named.items()}
    large = {name: kind for name, kind in types.items() if kind in ZERO_SHOT}
    if not large or not set(wanted or ()) <= large.keys():
        got = ", ".join(wanted or types)
        raise ConfigError(
            explain("models", f"some of {', '.join(large) or 'dense, bert, gpt'}", got)
        )
    return {name: large[name] for name in wanted or large}


def with_options(config: EngineConfig, name: str, changes: Mapping[str, Any]) -> EngineConfig:
    """``config`` with other options of the model ``name``; blocks are merged, not replaced."""
    section = "retrievers" if name in config.retrievers else "rankers"
    models = {k: dict(v) for k, v in config.to_dict()[section].items()}
    models[name] = _merged(models[name], changes)
    return EngineConfig.overlay(config, {section: models})


def _merged(old: Any, new: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(old) if isinstance(old, Mapping) else {}
    for key, value in new.items():
        out[key] = _merged(out.get(key), value) if isinstance(value, Mapping) else value
    return out


@dataclass(frozen=True)
class Trial:
    """One data set in three, and the models that bring candidates for rankers.

    Attributes:
        config: with the seed of this trial.
        data: the whole.
        split: the validation: events to learn from, and questions.
        args: the command line.
    """

    config: EngineConfig
    data: Dataset
    split: Split
    args: argparse.Namespace

    @classmethod
    def of(cls, config: EngineConfig, data: Dataset, args: argparse.Namespace, seed: int) -> Trial:
        """The validation of ``data``, ``args.max_users`` of its users drawn at random."""
        config = EngineConfig.overlay(config, {"seed": seed})
        split = leave_last_out(leave_last_out(data).train)
        if args.max_users is not None and len(split) > args.max_users:
            rng = np.random.default_rng([seed, *b"validation users"])
            split = split.take(np.sort(rng.choice(len(split), args.max_users, replace=False)))
        return cls(config, data, split, args)

    def identity(self, config: EngineConfig, train: Dataset) -> dict[str, Any]:
        """What a number depends on, for its row."""
        mark = Fingerprint.of(self.data, self.split, config=config.hash)
        return {
            "fingerprint": mark.digest,
            "config": config.hash,
            "train": train.fingerprint,
            "seed": config.seed,
            "version": __version__,
        }

    def measured(
        self, config: EngineConfig, name: str, train: Dataset | None = None
    ) -> dict[str, Any]:
        """Fit ``name`` of ``config`` on ``train`` (by default all there is) and ask it.

        Returns:
            JSON values: metrics with intervals, ``curve`` as [step, value] of each look at the
            model's own inner validation, seconds.
        """
        train = self.split.train if train is None else train
        model, brought, curve, seconds = self.fitted(config, name, train)
        started = time.perf_counter()
        with stage(f"ask {name}", show=not self.args.quiet):
            row = self.asked(model, brought)
        return {**row, "curve": curve, "fit_s": seconds, "ask_s": time.perf_counter() - started}

    def fitted(
        self, config: EngineConfig, name: str, train: Dataset
    ) -> tuple[Model, dict[str, Model], list[Any], float]:
        """The model ``name`` fitted on ``train``, what brings its candidates, its looks, seconds.

        The retrievers that bring candidates know all the events of the past, whatever ``train`` is,
        so that models are asked about the same items.
        """
        models, others = _built(config), _built(config)
        brings: dict[str, Model] = {}
        if name in config.rankers:
            large = large_models(config)
            brings = {k: m for k, m in others.items() if k in config.retrievers and k not in large}
            if not brings:
                need = "a retriever that is none of " + ", ".join(large)
                raise ConfigError(explain(name, need, "none to bring candidates"))
        past, own = self.split.train, _closure(models, name)
        started = time.perf_counter()
        folder, show = self.args.out / "work", not self.args.quiet
        fit_models(brings, past, FitContext(config.seed, folder, show, past.catalog))
        with curves() as seen:
            context = FitContext(config.seed, folder, show, train.catalog)
            fit_models({k: m for k, m in models.items() if k in own}, train, context)
        seconds = time.perf_counter() - started
        mark = f"{name}-{config.hash[:16]}-{train.fingerprint[:16]}"
        return models[name], brings, self._kept_looks(mark, _looks(seen)), seconds

    def _kept_looks(self, mark: str, seen: list[Any]) -> list[Any]:
        """``seen``; or, of a model that an earlier call fitted, what was seen then."""
        file = self.args.out / "curves" / f"{mark}.json"
        if not seen and file.is_file():
            return list(json.loads(file.read_text("utf-8")))
        write_text(file, json.dumps(seen))
        return seen

    def asked(self, model: Model, brings: Mapping[str, Model]) -> dict[str, Any]:
        """Metrics of ``model``; of a ranker also those of a random order, as ``chance``."""
        queries, targets = self.split.queries, self.split.targets
        if isinstance(model, Retriever):
            found = model.retrieve(queries, 100)
            return self._metrics(found, found.scores[:, 0])
        count = self.args.candidates
        parts = [m.retrieve(queries, count) for m in brings.values() if isinstance(m, Retriever)]
        pool = Candidates.union(parts)
        row = self._metrics(pool, model.score(queries, pool).values)
        there = np.isin(
            pool.rows * np.int64(self.data.n_items) + pool.items,
            targets.rows * np.int64(self.data.n_items) + targets.values,
        )
        hit, size = np.bincount(pool.rows[there], minlength=len(queries)), pool.lengths
        share = np.where(size > 0, np.minimum(K, size) / np.maximum(size, 1), 0)
        return {**row, "chance": {f"HR@{K}": float((hit * share).mean())}}

    def _metrics(self, found: Candidates, scores: npt.NDArray[Any]) -> dict[str, Any]:
        _, rank = segment_rank(found.offsets, (found.items, -np.nan_to_num(scores, nan=-np.inf)))
        top = np.full((found.n_queries, 100), -1, np.int32)
        head = (rank <= 100) & ~np.isnan(scores)
        top[found.rows[head], rank[head] - 1] = found.items[head]
        out: dict[str, Any] = {"queries": found.n_queries}
        for metric, values in per_query(top, self.split.targets, METRICS).items():
            told = mean_interval(values, self.split.users)
            ends = {"low": told.low, "high": told.high}
            out[metric] = {"mean": told.mean, **{k: v for k, v in ends.items() if np.isfinite(v)}}
        return out


def _built(config: EngineConfig) -> dict[str, Model]:
    retrievers, rankers, _ = config.build()
    return {**retrievers, **rankers}


def _closure(models: Mapping[str, Model], name: str) -> set[str]:
    """``name``, and whatever it needs."""
    out, waiting = set(), [name]
    while waiting:
        one = waiting.pop()
        if one not in out and one in models:
            out.add(one)
            waiting += models[one].needs()
    return out


def _looks(seen: Sequence[Curve]) -> list[Any]:
    """[[step, value], ...] of each run, without the looks at a model that had diverged."""
    return [[[step, value] for step, value in curve if np.isfinite(value)] for curve in seen]


class Journal:
    """Rows in a JSON file, written one by one; what is there is not measured again.

    Args:
        args: the command line: ``out``, ``json``, ``quiet``.
        name: of the file and of the benchmark.
    """

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        self._args, self._name = args, name
        self._file = args.out / f"{name}.json"
        kept = json.loads(self._file.read_text("utf-8"))["rows"] if self._file.is_file() else []
        self._kept: list[dict[str, Any]] = kept
        self.rows: list[dict[str, Any]] = []

    def row(self, key: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]) -> None:
        """The row of ``key``: as it stands in the file, else measured and written at once."""
        found = next((r for r in self._kept if all(r.get(k) == v for k, v in key.items())), None)
        if found is None:
            found = {**key, **measure(), "machine": this_machine().to_json()}
            self._kept.append(found)
            whole = {"benchmark": self._name, "rows": self._kept}
            write_text(self._file, json.dumps(whole, indent=1, allow_nan=False) + "\n")
        self.rows.append(found)

    def show(self, columns: Sequence[str]) -> None:
        """The rows of this call: JSON, or a table with ``columns`` before the metrics."""
        if self._args.json:
            whole = {"benchmark": self._name, "rows": self.rows}
            sys.stdout.write(json.dumps(whole, indent=1, allow_nan=False) + "\n")
            return
        heads = "".join(f"{name:<16}" for name in columns)
        sys.stdout.write(heads + "".join(f"{metric:>26}" for metric in METRICS) + "   fit s\n")
        for row in self.rows:
            cells = "".join(f"{row[name]!s:<16}" for name in columns)
            for metric in METRICS:
                told = row[metric]
                between = f" [{told['low']:.4f}, {told['high']:.4f}]" if "low" in told else ""
                cells += f"{told['mean']:.4f}{between}".rjust(26)
            sys.stdout.write(f"{cells}{row['fit_s']:>8.0f}\n")
