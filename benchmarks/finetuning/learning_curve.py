"""Few-shot: each large model fine-tuned on 0, 1, 5, 10, 25 and 100 % of the labels.

    python benchmarks/finetuning/learning_curve.py configs/quick.yaml --shares 0.01 0.1 1

A share of the labels is the events of so many users, drawn at random; the smaller share is a part
of the larger one. Who is asked, with all that is known of them, is the same for each. The catalogue
is known whole, too. Writes ``learning_curve.json`` into ``--out`` after each number and goes on
there after an interruption, as ``before_after.py`` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
from measuring import ZERO_SHOT, Journal, Trial, exits, large_models, opened, options, with_options

from fusion.data.dataset import Dataset
from fusion.errors import ConfigError, explain

NAME = "learning_curve"
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 1.0)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the options, run, print."""
    args = options(__doc__, NAME, argv, _shares)

    def run() -> None:
        if not all(0 <= share <= 1 for share in args.shares):
            raise ConfigError(explain("--shares", "numbers from 0 to 1", str(args.shares)))
        config, data = opened(args)
        journal = Journal(args, NAME)
        for seed in args.seeds or [config.seed]:
            trial = Trial.of(config, data, args, seed)
            for name, kind in large_models(config, args.models).items():
                for share in args.shares:
                    train, engine = labelled(trial.split.train, share, seed), trial.config
                    if share == 0:
                        train = trial.split.train
                        engine = with_options(engine, name, ZERO_SHOT[kind])
                    key = {
                        "model": name,
                        "share": share,
                        "events": len(train) if share else 0,
                        **trial.identity(engine, train),
                    }
                    journal.row(key, partial(trial.measured, engine, name, train))
        journal.show(("model", "share", "seed"))

    exits(NAME, run)


def labelled(data: Dataset, share: float, seed: int) -> Dataset:
    """The events of ``share`` of the users, one user at least; nested over the shares."""
    rng = np.random.default_rng([seed, *b"labels"])
    order = rng.permutation(np.flatnonzero(np.diff(data.offsets)))
    chosen = order[: max(1, round(share * len(order)))]
    return data.where(np.isin(data.interactions.users, chosen))


def _shares(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the users")


if __name__ == "__main__":
    main()
