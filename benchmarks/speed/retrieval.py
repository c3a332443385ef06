"""Dense retrieval beside exact search: one query and 64, and how it grows with the catalogue.

``retrieval.py`` encodes real MovieLens titles with MiniLM, fills up to ``--items`` vectors with
mixtures of two of them plus noise (which keeps the clusters that real texts have), and searches the
100 nearest by the index that ``kind: auto`` builds, by faiss's exact `IndexFlatIP`, and by
sentence-transformers' `semantic_search`. Recall is against the exact search on queries that were
not indexed. ``--growth 10000 100000 1000000`` prints milliseconds, recall and bytes for each size;
``--gaussian`` replaces the vectors by independent ones, the hardest case for any index.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
from data import movielens
from timing import arguments, curves, finish, in_turns, note, ratio_row, resident_mib, table

from retrievers.encoder import Encoder, unit
from retrievers.faiss_index import FaissIndex, IndexSettings, import_faiss

K, QUERIES = 100, 256
Vectors = npt.NDArray[np.float32]


def main() -> None:
    """Read the options, run, print."""
    parser = arguments(__doc__, "retrieval")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--kind", default="auto", help="of the index, as in the configuration")
    parser.add_argument("--growth", type=int, nargs="*", default=[], metavar="ITEMS")
    parser.add_argument("--gaussian", action="store_true", help="vectors without clusters")
    args = parser.parse_args()
    real = titles()
    rows = compared(real, args)
    found: dict[str, Any] = {"rows": rows, "dimensions": int(real.shape[1]), "top": K}
    text = table(rows)
    text += "".join(f"recall@{K}: {row['recall']:.4f} ({row['kind']})\n" for row in rows[:1])
    growth = [grown(real, size, args) for size in args.growth]
    if growth:
        found["growth"] = growth
        text += f"{'items':>10} {'kind':>10} {'ms/query':>9} {'recall':>7} "
        text += f"{'index MiB':>10} {'build s':>8} {'RSS MiB':>8}\n"
        for row in growth:
            text += (
                f"{row['items']:>10,} {row['kind']:>10} {row['ms']:>9.3f} {row['recall']:>7.4f} "
                f"{row['index_mib']:>10.0f} {row['build_s']:>8.1f} {row['resident_mib']:>8.0f}\n"
            )
        sizes = [row["items"] for row in growth]
        series = {"auto": (sizes, [row["ms"] for row in growth])}
        exact = [row for row in growth if row["exact_ms"] is not None]
        series["exact"] = ([r["items"] for r in exact], [r["exact_ms"] for r in exact])
        finish(
            args,
            "retrieval",
            found,
            text,
            lambda figure: curves(figure, series, "items", "milliseconds a query"),
        )
        return
    finish(args, "retrieval", found, text)


def titles() -> Vectors:
    """Unit vectors of every MovieLens title, from the encoder as it is."""
    note("encoding titles")
    encoder = Encoder.base("all-MiniLM-L6-v2")
    return encoder.encode(list(movielens().catalog.texts), tokens=32, batch_size=64, exact=False)


def enlarged(real: Vectors, count: int, rng: np.random.Generator, *, gaussian: bool) -> Vectors:
    """(count, D) float32 unit vectors, made in chunks."""
    out = np.empty((count, real.shape[1]), np.float32)
    for start in range(0, count, 65_536):
        n = min(65_536, count - start)
        noise = rng.standard_normal((n, real.shape[1]), np.float32) / np.float32(
            real.shape[1] ** 0.5
        )
        if gaussian:
            out[start : start + n] = unit(noise)
            continue
        a, b = rng.integers(0, len(real), (2, n))
        share = rng.random((n, 1), np.float32) * np.float32(0.5)
        out[start : start + n] = unit((1 - share) * real[a] + share * real[b] + 0.3 * noise)
    return out


def compared(real: Vectors, args: Any) -> list[dict[str, Any]]:
    """Ours, exact faiss and `semantic_search` in one process."""
    import torch
    from sentence_transformers.util import semantic_search

    faiss = import_faiss()
    rng = np.random.default_rng(0)
    vectors = enlarged(real, args.items, rng, gaussian=args.gaussian)
    queries = enlarged(real, QUERIES, rng, gaussian=args.gaussian)
    note("building")
    index = FaissIndex.build(vectors, IndexSettings(kind=args.kind), seed=0)
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    tensor = torch.from_numpy(vectors)
    truth = exact.search(queries, K)[1]
    recall = recall_of(index.search(queries, K), truth)
    more = {"recall": recall, "kind": index.kind, "items": args.items}
    rows = []
    for size in (1, 64):
        few = queries[:size]
        calls = {
            "ours": lambda few=few: index.search(few, K),
            "exact": lambda few=few: exact.search(few, K),
            "semantic_search": lambda few=few: semantic_search(
                torch.from_numpy(few), tensor, top_k=K
            ),
        }
        taken = in_turns(calls, max(args.repeat, 20))
        work = f"top {K} of {args.items:,} x {vectors.shape[1]}, {size} queries"
        rows.append(ratio_row(work, "faiss IndexFlatIP", taken, "ours", "exact", 5, **more))
        rows.append(
            ratio_row(work, "semantic_search", taken, "ours", "semantic_search", None, **more)
        )
    return rows


def grown(real: Vectors, count: int, args: Any) -> dict[str, Any]:
    """One size of catalogue."""
    note(f"{count:,} items")
    rng = np.random.default_rng(1)
    vectors = enlarged(real, count, rng, gaussian=args.gaussian)
    queries = enlarged(real, QUERIES, rng, gaussian=args.gaussian)
    start = time.perf_counter()
    index = FaissIndex.build(vectors, IndexSettings(kind=args.kind), seed=0)
    built = time.perf_counter() - start
    truth = np.empty((QUERIES, K), np.int64)
    best = np.full((QUERIES, K), -np.inf, np.float32)
    began = time.perf_counter()
    for at in range(0, count, 262_144):  # exact, a block at a time
        block = queries @ vectors[at : at + 262_144].T
        numbers = np.broadcast_to(np.arange(at, at + block.shape[1]), block.shape)
        scores, labels = np.hstack([best, block]), np.hstack([truth, numbers])
        top = np.argpartition(-scores, K - 1, axis=1)[:, :K]
        best, truth = (np.take_along_axis(x, top, axis=1) for x in (scores, labels))
    exact_ms = 1e3 * (time.perf_counter() - began) / QUERIES
    for query in queries[:20]:
        index.search(query[None], K)
    start = time.perf_counter()
    for query in queries[20:220]:
        index.search(query[None], K)
    ms = 1e3 * (time.perf_counter() - start) / 200
    return {
        "items": count,
        "kind": index.kind,
        "ms": ms,
        "exact_ms": exact_ms,
        "recall": recall_of(index.search(queries, K), truth),
        "index_mib": index.nbytes / 2**20,
        "build_s": built,
        "resident_mib": resident_mib(),
    }


def recall_of(found: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Share of the true neighbours that were found."""
    return float(
        np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / K
    )


if __name__ == "__main__":
    main()
