"""Transfer: fine-tuned on data set A, then asked about B, as it is and adapted to B.

    python benchmarks/finetuning/transfer.py configs/quick.yaml --data-set ml-1m --source beauty

Four rows a model, all asked about B's validation: ``zero-shot``, the model that saw neither;
``A``, fine-tuned on A only; ``B``, fine-tuned on B alone; ``A then B``, fine-tuned on A, then with
the same budget on B. B's own past is each asker's history in all four. Measured are the models that
leave an encoder to start from: the types dense and bert. Writes ``transfer.json`` into ``--out``
after each number and goes on there after an interruption, as ``before_after.py`` does.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common import DATA_SETS, configured, source_of
from measuring import ZERO_SHOT, Journal, Trial, exits, large_models, opened, options, with_options

from fusion.data.dataset import Dataset
from fusion.data.splits import leave_last_out
from fusion.errors import ConfigError, explain

NAME = "transfer"

#: by type of model: folders of what it saves that together are a base model
START = {"dense": ("encoder",), "bert": ("encoder", "tokenizer", "cross_encoder")}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the options, run, print."""
    args = options(__doc__, NAME, argv, _source)

    def run() -> None:
        config, data = opened(args)
        _, source = configured(source_of(args.source, args.source_data), args)
        learnt = leave_last_out(leave_last_out(source).train).train
        models = large_models(config, args.models)
        kinds = {name: kind for name, kind in models.items() if kind in START}
        if args.models and len(kinds) < len(models):
            need = f"models of the types {', '.join(START)}"
            raise ConfigError(explain("--models", need, ", ".join(args.models)))
        journal = Journal(args, NAME)
        for seed in args.seeds or [config.seed]:
            trial = Trial.of(config, data, args, seed)
            for name, kind in kinds.items():
                mark = f"{trial.config.hash[:12]}-{learnt.fingerprint[:12]}"
                start = args.out / "starts" / f"{name}-{mark}"
                if not start.is_dir():
                    _fine_tuned(trial, name, kind, learnt, start)
                adapted = with_options(trial.config, name, {"base_model": str(start.resolve())})
                for stage, engine in (
                    ("zero-shot", with_options(trial.config, name, ZERO_SHOT[kind])),
                    ("A", with_options(adapted, name, ZERO_SHOT[kind])),
                    ("B", trial.config),
                    ("A then B", adapted),
                ):
                    told = trial.identity(trial.config, trial.split.train)
                    key = {"model": name, "stage": stage, "source": learnt.fingerprint, **told}
                    journal.row(key, partial(trial.measured, engine, name))
        journal.show(("model", "stage", "seed"))

    exits(NAME, run)


def _fine_tuned(trial: Trial, name: str, kind: str, learnt: Dataset, start: Path) -> None:
    """Fine-tune on A and leave a base model in ``start``."""
    model, *_ = trial.fitted(trial.config, name, learnt)
    saved, aside = start.with_name(f"{start.name}.saved"), start.with_name(f"{start.name}.part")
    for folder in (saved, aside):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    model.save(saved)
    for part in START[kind]:
        if (saved / part).is_dir():
            shutil.copytree(saved / part, aside, dirs_exist_ok=True)
    shutil.rmtree(saved)
    aside.rename(start)


def _source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", choices=DATA_SETS, required=True, help="data set A")
    parser.add_argument("--source-data", type=Path, help="folder with its publisher's files")


if __name__ == "__main__":
    main()
