"""The BERT ranker's modes beside sentence-transformers' `CrossEncoder.predict`: speed and quality.

``bert.py`` fine-tunes one ranker a mode on MovieLens without the last two events of each user, lets
each rank the 100 first of the retrievers for the second last event, and prints NDCG@10, the order's
agreement with the cross-encoder (Kendall tau) and milliseconds of 100 candidates. The baseline is
the same fine-tuned cross-encoder, saved and opened by `CrossEncoder`, asked by its `predict` with
its defaults for the same texts. No test event is looked at: the last event of each user is not in
the data at all.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from data import movielens
from scipy.stats import kendalltau
from timing import arguments, finish, in_turns, note, ratio_row, table

from fusion.candidates import Candidates
from fusion.data.dataset import Dataset
from fusion.data.splits import leave_last_out
from fusion.evaluation.significance import paired_difference
from fusion.pool import LivePool
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.stacking import popularity_share, targets_of
from fusion.work import counting
from rankers.bert import Bert
from rankers.device import best_device, measured_peak
from retrievers.ease import Ease
from retrievers.item_transition import ItemTransition

Floats = npt.NDArray[np.float32]
BASE = "cross, torch"
#: name -> what it says over the mode's common settings
WAYS: dict[str, dict[str, Any]] = {
    BASE: {"mode": "cross"},
    "cross, openvino": {"mode": "cross", "backend": "openvino"},
    "cross, openvino int8": {"mode": "cross", "backend": "openvino", "quantize": "int8"},
    "shared, torch": {"mode": "shared"},
    "shared, openvino": {"mode": "shared", "backend": "openvino"},
    "late, torch": {"mode": "late"},
    "late, openvino": {"mode": "late", "backend": "openvino"},
}


@dataclass(frozen=True)
class Asked:
    """What every way is asked: Q queries, 100 candidates each, and what was met next."""

    past: Dataset
    queries: Queries
    candidates: Candidates
    targets: npt.NDArray[np.int32]


def main() -> None:
    """Read the options, run, print."""
    parser = arguments(__doc__, "bert")
    parser.add_argument("--queries", type=int, default=200, help="that quality is judged on")
    parser.add_argument("--history-tokens", type=int, default=48)
    parser.add_argument("--item-tokens", type=int, default=16)
    parser.add_argument("--steps", type=int, default=160, help="of fine-tuning, each mode")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    args = parser.parse_args()
    asked = questions(args.queries)
    rankers = {name: fitted(name, asked, args) for name in dict.fromkeys([BASE, *args.ways])}
    base, at = rankers[BASE], np.array([0])
    one, few = asked.queries.take(at), asked.candidates.take(at)
    with tempfile.TemporaryDirectory() as folder:
        peer = CrossEncoderPeer(base, Path(folder))
        calls: dict[str, Any] = {"predict": lambda: peer.predict(asked, 0)}
        for name, ranker in rankers.items():
            calls[name] = lambda ranker=ranker: ranker.score(one, few)
        taken = in_turns(calls, args.repeat)
        note("CrossEncoder.predict for every query")
        theirs = np.concatenate([peer.predict(asked, q) for q in range(len(asked.queries))])
    gains = ndcg(asked, theirs)
    users = np.arange(len(gains))
    rows = []
    for name in args.ways:
        note(f"{name}: quality")
        scores = rankers[name].score(asked.queries, asked.candidates).values
        mine = ndcg(asked, scores)
        with counting() as work:
            rankers[name].score(one, few)
        delta = paired_difference(mine, gains, users)
        goal = 15 if name.startswith("late") else 5 if name.startswith("cross") else None
        row = ratio_row(
            f"BERT {name}, 100 candidates", "CrossEncoder.predict", taken, name, "predict", goal
        )
        row |= work.counts
        rate = row["flops"] / (row["ours_ms"] / 1e3)
        rate = row["flops"] / (row["ours_ms"] / 1e3)
        row |= {
            "tau": agreement(asked, scores, theirs),
            "ndcg": float(mine.mean()),
            "ndcg_of_predict": float(gains.mean()),
            "ndcg_difference": [delta.mean, delta.low, delta.high],
            "share_of_bf16_peak": rate / measured_peak(best_device().type, "bfloat16"),
        }
        rows.append(row)
    text = table(rows)
    text += f"\n{'way':<24} {'tau':>6} {'NDCG@10':>8} {'difference [95 %]':>28} {'of peak':>8}\n"
    for row in rows:
        mean, low, high = row["ndcg_difference"]
        text += (
            f"{row['work'][5:-16]:<24} {row['tau']:>6.3f} {row['ndcg']:>8.4f} "
            f"{f'{mean:+.4f} [{low:+.4f}, {high:+.4f}]':>28} {row['share_of_bf16_peak']:>8.0%}\n"
        )
    text += f"CrossEncoder.predict: NDCG@10 {gains.mean():.4f}, {len(gains)} queries\n"
    found = {"rows": rows, "queries": len(gains), "steps": args.steps}
    finish(args, "bert", found, text)


def questions(count: int) -> Asked:
    """The second last event of ``count`` users, and the retrievers' 100 first for it."""
    note("retrievers")
    split = leave_last_out(leave_last_out(movielens()).train)
    past, context = split.train, FitContext(seed=42)
    models: dict[str, Any] = {
        "ease": Ease({"half_life": 5, "n": 100}, name="ease"),
        "item_transition": ItemTransition({"n": 100}, name="item_transition"),
    }
    for model in models.values():
        model.fit(past, context)
    chosen = np.sort(np.random.default_rng(0).permutation(len(split.queries))[:count])
    queries = split.queries.take(chosen)
    pool = LivePool(queries, models, popularity_share(past))
    union = pool.candidates()
    keep = np.zeros(len(union), bool)
    for start, stop in zip(union.offsets[:-1], union.offsets[1:], strict=True):
        order = np.argsort(-pool._first[start:stop], kind="stable")[:100]
        keep[start + order] = True
    few = union.where(keep)
    return Asked(past, queries, Candidates.bare(few.offsets, few.items), targets_of(split)[chosen])


def fitted(name: str, asked: Asked, args: Any) -> Bert:
    """The ranker of one way; ways of one mode share the fine-tuned weights."""
    note(f"fine-tuning {name}")
    common = {
        "history_tokens": args.history_tokens,
        "item_tokens": args.item_tokens,
        "max_steps": args.steps,
        "top": 100,
    }
    mode = WAYS[name]["mode"]
    ranker = Bert({**common, **WAYS[name]}, name="bert")
    if mode not in _SAVED:
        teacher = Bert({**common, "mode": mode, "backend": "torch"}, name="bert")
        teacher.fit(asked.past, FitContext(seed=42))
        folder = Path(tempfile.mkdtemp(prefix="recfusion-bert-"))
        teacher.save(folder)
        _SAVED[mode] = folder
    ranker.load(_SAVED[mode], asked.past)
    return ranker


_SAVED: dict[str, Path] = {}


class CrossEncoderPeer:
    """The fine-tuned cross-encoder as sentence-transformers opens it."""

    def __init__(self, ranker: Bert, folder: Path) -> None:
        from sentence_transformers import CrossEncoder

        ranker.save(folder)
        self._tokenizer = ranker._tokenizer
        self._texts = ranker._texts
        self.model = CrossEncoder(str(next(folder.glob("**/model.safetensors")).parent))

    def predict(self, asked: Asked, query: int) -> Floats:
        """Scores of one query's candidates by `predict` with its defaults."""
        history = self._decoded(self._texts.history(asked.queries.history[query])[1:-1])
        span = slice(asked.candidates.offsets[query], asked.candidates.offsets[query + 1])
        pairs = [
            (history, self._decoded(self._texts.items[item].tolist()))
            for item in asked.candidates.items[span]
        ]
        return np.asarray(self.model.predict(pairs, show_progress_bar=False), np.float32)

    def _decoded(self, tokens: Any) -> str:
        return str(self._tokenizer.decode(tokens))


def ndcg(asked: Asked, scores: Floats) -> npt.NDArray[np.float64]:
    """(Q,) NDCG@10 of what was met next; equal scores are ordered by item index."""
    offsets, items = asked.candidates.offsets, asked.candidates.items
    out = np.zeros(len(asked.queries))
    for q, (start, stop) in enumerate(itertools.pairwise(offsets)):
        order = np.lexsort((items[start:stop], -scores[start:stop]))
        rank = np.flatnonzero(items[start:stop][order] == asked.targets[q])
        if len(rank) and rank[0] < 10:
            out[q] = 1 / np.log2(rank[0] + 2)
    return out


def agreement(asked: Asked, ours: Floats, theirs: Floats) -> float:
    """Mean over the queries of Kendall's tau-b of the two orders."""
    offsets = asked.candidates.offsets
    return float(
        np.mean(
            [kendalltau(ours[a:b], theirs[a:b]).statistic for a, b in itertools.pairwise(offsets)]
        )
    )


if __name__ == "__main__":
    main()
