"""Peers of the package `implicit` 0.7: ALS and item-item neighbours (BM25, cosine, TF-IDF).

    OMP_NUM_THREADS=1 ENV/bin/python benchmarks/peers/implicit_als.py SPLIT --out SPLIT/runs

Each model's settings are chosen on the last training event of at most 2,048 users by NDCG@10, from
a small grid around the package's defaults, and the model is then fitted on all training events.
``--as-shipped`` takes the defaults instead. ALS: Hu, Koren and Volinsky (2008), "Collaborative
filtering for implicit feedback datasets"; that its regularisation and confidence must be searched
for: Rendle, Krichene, Zhang and Koren (2022), "Revisiting the performance of iALS on item
recommendation benchmarks", arXiv:2110.14037.

A query's history gives its user factors (``recalculate_user``), so that later events count too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
from exchange import Asked, Stopwatch, arguments, cut, hold_out_last, ndcg_at_10, read_split
from exchange import write_run as write
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

#: name -> class, the package's defaults (0.7.3), the grid around them
MODELS: Mapping[str, tuple[Any, dict[str, Any], dict[str, Sequence[Any]]]] = {
    "als": (
        AlternatingLeastSquares,
        {"factors": 100, "regularization": 0.01, "alpha": 1.0, "iterations": 15},
        {"factors": (64, 128, 256), "regularization": (0.1, 1.0, 10.0, 50.0), "alpha": (1.0, 10.0)},
    ),
    "bm25": (
        BM25Recommender,
        {"K": 20, "K1": 1.2, "B": 0.75},
        {"K": (20, 100, 500), "K1": (0.1, 1.2, 10.0), "B": (0.0, 0.2, 0.75)},
    ),
    "cosine": (CosineRecommender, {"K": 20}, {"K": (5, 10, 20, 50, 100, 500)}),
    "tfidf": (TFIDFRecommender, {"K": 20}, {"K": (5, 10, 20, 50, 100, 500)}),
}
BATCH = 512


def main() -> None:
    """Choose, fit, recommend, write one run a model."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--as-shipped", action="store_true", help="the package's defaults")
    args = parser.parse_args()
    given = read_split(args.split)
    rest, held, targets = hold_out_last(given, seed=args.seed)
    for name in args.models:
        kind, shipped, grid = MODELS[name]
        watch, tried = Stopwatch(), []
        settings = shipped
        if not args.as_shipped:
            with watch("choose"):
                for values in product(*grid.values()):
                    own = {**shipped, **dict(zip(grid, values, strict=True))}
                    model = fitted(kind, own, rest.matrix(), args)
                    run = recommend(model, held, given.n_items, 10)
                    tried.append({"settings": own, "ndcg": ndcg_at_10(run, targets)})
            settings = max(tried, key=lambda one: one["ndcg"])["settings"]
        with watch("fit"):
            model = fitted(kind, settings, given.matrix(), args)
        with watch("recommend"):
            run = recommend(model, given.asked, given.n_items, args.k)
        write(
            args.out,
            f"implicit {name}" if not args.as_shipped else f"implicit {name} as shipped",
            run,
            given,
            packages=("implicit", "numpy", "scipy"),
            settings={**settings, "seed": args.seed},
            seconds=watch.seconds,
            more={"tried": tried},
        )


def fitted(kind: Any, settings: Mapping[str, Any], events: Any, args: Any) -> Any:
    """The model fitted on the CSR matrix ``events`` (users, items)."""
    own = dict(settings)
    if kind is AlternatingLeastSquares:
        own |= {"random_state": args.seed, "use_gpu": False}
    model = kind(**own, num_threads=args.threads)
    with warnings.catch_warnings():  # of the package about its own matrices
        warnings.simplefilter("ignore")
        model.fit(events, show_progress=False)
    return model


def recommend(model: Any, asked: Asked, n_items: int, k: int) -> pa.Table:
    """The ``k`` best items of each query that are not in its history, as a run.

    The item-item models list items of the history with a score of 0 where they find too few others;
    those, and other items without any similarity, are no recommendations.
    """
    histories, parts = asked.matrix(n_items), []
    again = hasattr(model, "item_factors")
    for start in range(0, len(asked), BATCH):
        which = np.arange(start, min(start + BATCH, len(asked)))
        options = {"recalculate_user": True} if again else {}
        items, scores = model.recommend(
            which, histories[which], N=k, filter_already_liked_items=True, **options
        )
        if not again:
            scores = np.where(scores > 0, scores, np.nan)
        parts.append((np.repeat(which, items.shape[1]), items.ravel(), scores.ravel()))
    return cut(*map(np.concatenate, zip(*parts, strict=True)), k)


if __name__ == "__main__":
    main()
