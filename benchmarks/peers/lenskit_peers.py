"""Peers of LensKit 2025.8: implicit-feedback ALS and item-item neighbours.

    OMP_NUM_THREADS=1 ENV/bin/python benchmarks/peers/lenskit_peers.py SPLIT --out SPLIT/runs

The 2025 line runs on Python 3.11. From 2026.1 LensKit wants Python 3.12.5 and, as before, torch,
which the package index offers for that Python on Linux with CUDA libraries only.
ALS is LensKit's own (`ImplicitMFScorer`, Cholesky solver), item-item its `ItemKNNScorer` with
``feedback: implicit``; settings are chosen as in `implicit_als`, from a grid around LensKit's
defaults. Ekstrand (2020), "LensKit for Python", arXiv:1809.03125. A query is given as a history.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from exchange import Asked, Given, Stopwatch, arguments, cut, hold_out_last, ndcg_at_10, read_split
from exchange import write_run as write
from lenskit import recommend as ask
from lenskit.als import ImplicitMFScorer
from lenskit.data import ItemList, RecQuery, from_interactions_df
from lenskit.knn import ItemKNNScorer
from lenskit.pipeline import topn_pipeline
from lenskit.training import TrainingOptions

#: name -> scorer, LensKit's defaults, the grid around them
MODELS: Mapping[str, tuple[Any, dict[str, Any], dict[str, Sequence[Any]]]] = {
    "als": (
        ImplicitMFScorer,
        {"embedding_size": 50, "epochs": 10, "regularization": 0.1, "weight": 40.0},
        {"embedding_size": (64, 128), "regularization": (0.1, 1.0, 10.0), "weight": (1.0, 10.0)},
    ),
    "item_knn": (
        ItemKNNScorer,
        {"max_nbrs": 20, "feedback": "implicit"},
        {"max_nbrs": (10, 20, 50), "save_nbrs": (None, 100)},
    ),
}


def main() -> None:
    """Choose, fit, recommend, write one run a model."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--as-shipped", action="store_true", help="the package's defaults")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="lenskit")
    given = read_split(args.split)
    rest, held, targets = hold_out_last(given, seed=args.seed)
    for name in args.models:
        kind, shipped, grid = MODELS[name]
        watch, tried, settings = Stopwatch(), [], shipped
        if not args.as_shipped:
            with watch("choose"):
                for values in product(*grid.values()):
                    own = {**shipped, **dict(zip(grid, values, strict=True))}
                    run = recommend(fitted(kind, own, rest, args.seed), held, 10)
                    tried.append({"settings": own, "ndcg": ndcg_at_10(run, targets)})
            settings = max(tried, key=lambda one: one["ndcg"])["settings"]
        with watch("fit"):
            model = fitted(kind, settings, given, args.seed)
        with watch("recommend"):
            run = recommend(model, given.asked, args.k)
        write(
            args.out,
            f"lenskit {name}" if not args.as_shipped else f"lenskit {name} as shipped",
            run,
            given,
            packages=("lenskit", "numpy", "torch"),
            settings={**settings, "seed": args.seed},
            seconds=watch.seconds,
            more={"tried": tried},
        )


def fitted(kind: Any, settings: Mapping[str, Any], given: Given, seed: int) -> Any:
    """A pipeline that recommends, fitted on the training events."""
    frame = pd.DataFrame({"user_id": given.users, "item_id": given.items})
    pipeline = topn_pipeline(kind, dict(settings))
    pipeline.train(from_interactions_df(frame), TrainingOptions(rng=seed))
    return pipeline


def recommend(pipeline: Any, asked: Asked, k: int) -> pa.Table:
    """The ``k`` best items of each query that are not in its history, as a run."""
    queries, items, scores = [], [], []
    for query in range(len(asked)):
        history = asked.items[asked.offsets[query] : asked.offsets[query + 1]]
        found = ask(pipeline, RecQuery(history_items=ItemList(item_ids=history)), k)
        queries.append(np.full(len(found), query))
        items.append(found.ids())
        scores.append(found.scores())
    return cut(*map(np.concatenate, (queries, items, scores)), k)


if __name__ == "__main__":
    main()
