"""Write one split as neutral files, for packages that live in environments of their own.

    python benchmarks/peers/export.py --data-set ml-1m --data FOLDER --out runs/peers/ml-1m
    python benchmarks/peers/export.py --config configs/quick.yaml --split temporal --out FOLDER

The split, its order (time, then a hash) and what is excluded are this project's own; see
`exchange` for the files. They hold the publishers' data, so they stay out of git.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import DATA_SETS, SPLITS, source_of

from fusion.atomic import write_text
from fusion.benchmark import split_for
from fusion.config import EngineConfig, EvaluationConfig
from fusion.data.dataset import Dataset
from fusion.data.load import load_data
from fusion.data.splits import Split
from fusion.errors import ConfigError, RecfusionError, explain
from fusion.evaluation.fingerprint import Fingerprint
from fusion.ragged import Ragged

__all__ = ["export", "main", "restored"]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, load, split, write; a mistake that the user can mend is exit status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data-set", choices=DATA_SETS)
    where.add_argument(
        "--config", type=Path, help="YAML file whose `data:` and `evaluation:` count"
    )
    parser.add_argument("--data", type=Path, help="folder with the publisher's files")
    parser.add_argument("--split", choices=SPLITS, help="instead of the configured one")
    parser.add_argument("--max-users", type=int, help="ask about so many users drawn at random")
    parser.add_argument("--seed", type=int, default=42, help="of the draws, without --config")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    args = parser.parse_args(argv)
    try:
        evaluation, seed, base = EvaluationConfig(), args.seed, Path()
        if args.config:
            config = EngineConfig.from_yaml(args.config)
            if config.data is None:
                got, do = "none", "use --data-set"
                raise ConfigError(explain(str(args.config), "a section `data:`", got, do))
            evaluation, seed, base = config.evaluation, config.seed, config.base_folder
            source = config.data
        else:
            source = source_of(args.data_set, args.data)
        changes = {"split": args.split, "max_users": args.max_users}
        evaluation = evaluation.model_copy(update={k: v for k, v in changes.items() if v})
        origin = {
            "data": source,
            "base": str(base.resolve()),
            "evaluation": evaluation.model_dump(mode="json"),
            "seed": seed,
        }
        data, split = restored(origin)
        export(data, split, args.out, origin)
    except RecfusionError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(2)


def restored(origin: dict[str, Any]) -> tuple[Dataset, Split]:
    """The data and the split that ``split.json`` tells of."""
    data = load_data(origin["data"], base=origin["base"], progress=False)
    return data, split_for(EvaluationConfig(**origin["evaluation"]), data, origin["seed"])


def export(data: Dataset, split: Split, out: Path, origin: dict[str, Any]) -> None:
    """Write the files of `exchange` into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    events, queries = split.train.interactions, split.queries
    columns = {
        "train": {
            "user": events.users,
            "item": events.items,
            "time": events.times,
            "rating": events.ratings,
        },
        "queries": {
            "query": pa.array(range(len(queries)), pa.int32()),
            "user": split.users,
            "history": _lists(queries.history),
            "excluded": _lists(queries.excluded),
        },
        "targets": {
            "query": pa.array(range(len(queries)), pa.int32()),
            "targets": _lists(split.targets),
        },
        "items": {
            "item": pa.array(range(data.n_items), pa.int32()),
            "item_id": data.catalog.ids,
            "title": data.catalog.titles,
        },
    }
    for name, table in columns.items():
        pq.write_table(pa.table(table), out / f"{name}.parquet")
    facts = {
        "n_users": data.n_users,
        "n_items": data.n_items,
        "train_events": len(split.train),
        "queries": len(queries),
        "report": dict(split.report),
        "fingerprint": Fingerprint.of(data, split).to_json(),
        "origin": origin,
    }
    write_text(out / "split.json", json.dumps(facts, indent=1))


def _lists(lists: Ragged) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(lists.offsets, pa.int32()), pa.array(lists.values))


if __name__ == "__main__":
    main()
