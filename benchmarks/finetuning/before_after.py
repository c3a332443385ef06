"""Each large model zero-shot and fine-tuned, on the validation, with its curve look by look.

    python benchmarks/finetuning/before_after.py configs/quick.yaml --out runs/before-after

Writes ``before_after.json`` into ``--out`` after each number. The same command after an
interruption goes on there: numbers that are written are not measured again, models that are fitted
are loaded, and a training that was cut off goes on from its last checkpoint. See ``measuring.py``
for what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from measuring import ZERO_SHOT, Journal, Trial, exits, large_models, opened, options, with_options

NAME = "before_after"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the options, run, print."""
    args = options(__doc__, NAME, argv)

    def run() -> None:
        config, data = opened(args)
        journal = Journal(args, NAME)
        for seed in args.seeds or [config.seed]:
            trial = Trial.of(config, data, args, seed)
            for name, kind in large_models(config, args.models).items():
                before = with_options(trial.config, name, ZERO_SHOT[kind])
                for stage, engine in (("zero-shot", before), ("fine-tuned", trial.config)):
                    key = {
                        "model": name,
                        "stage": stage,
                        **trial.identity(engine, trial.split.train),
                    }
                    journal.row(key, partial(trial.measured, engine, name))
        journal.show(("model", "stage", "seed"))

    exits(NAME, run)


if __name__ == "__main__":
    main()
