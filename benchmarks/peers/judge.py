"""Judge the runs of other packages by this project's evaluation, beside this project's results.

    python benchmarks/peers/judge.py runs/peers/ml-1m runs/peers/ml-1m/runs/*.parquet
    python benchmarks/peers/judge.py SPLIT RUN.parquet --ours leave_last_out.json --against learned

The split is made again from the data, never read from what a peer could have touched; a run that
was made for another split, or recommends an excluded item, is refused. Equal scores are ordered by
item index, whatever order the peer gave them. With ``--against`` the named result of ``--ours`` is
compared with every peer: paired bootstrap interval over users, randomisation p, Holm-corrected.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from export import restored

from fusion.atomic import write_text
from fusion.comparison import read_results, side_by_side
from fusion.data.splits import Split
from fusion.errors import DataError, FingerprintError, RecfusionError, explain
from fusion.evaluation.fingerprint import Fingerprint
from fusion.evaluation.result import Result
from fusion.evaluation.significance import holm, paired_difference
from fusion.evaluation.table import Table
from fusion.ragged import segment_rank

__all__ = ["against", "judged", "main", "top_of_run"]

K = 10


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, judge, print; a mistake that the user can mend is exit status 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("split", type=Path, help="folder that export.py wrote")
    parser.add_argument("runs", type=Path, nargs="+", help="files NAME.parquet of peers")
    parser.add_argument("--ours", type=Path, help="JSON of a benchmark on the same split")
    parser.add_argument("--against", help="the result of --ours to compare with every peer")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    args = parser.parse_args(argv)
    try:
        peers = judged(args.split, args.runs)
        sources = {"peer": peers}
        if args.ours:
            sources["ours"] = read_results(args.ours)[0]
        table = side_by_side(sources, f"NDCG@{K}")
        gaps = [] if args.against is None else against(table, args.against, [p.name for p in peers])
    except RecfusionError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(2)
    found = compact(table, peers, gaps)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, json.dumps(found, indent=1, allow_nan=False))
    print(json.dumps(found, indent=1, allow_nan=False) if args.json else markdown(table, gaps))


def judged(folder: Path, runs: Sequence[Path]) -> list[Result]:
    """One result a run.

    Raises:
        FingerprintError: the data or the split is not the exported one any more, or a run answers
            another one.
        DataError: a run breaks a rule; see `top_of_run`.
    """
    try:
        facts = json.loads((folder / "split.json").read_text("utf-8"))
    except OSError as error:
        got, do = str(error), "write one with export.py"
        raise DataError(explain(str(folder), "an exported split", got, do)) from error
    data, split = restored(facts["origin"])
    fingerprint = Fingerprint.of(data, split)
    if fingerprint.protocol != facts["fingerprint"]["protocol"]:
        got, do = "another data set or version", "export it again and run the peers again"
        raise FingerprintError(explain(str(folder), "the split it was exported as", got, do))
    out = []
    for path in runs:
        try:
            about = json.loads(path.with_suffix(".json").read_text("utf-8"))
            table = pq.read_table(path, columns=["query", "item", "score"])
        except (OSError, ValueError) as error:
            raise DataError(explain(str(path), "a run and its .json", str(error))) from error
        if about["protocol"] != fingerprint.protocol:
            got = f"a run for {about['protocol'][:12]}"
            raise FingerprintError(
                explain(str(path), f"a run for the split {fingerprint.protocol[:12]}", got)
            )
        columns = [table[name].to_numpy() for name in ("query", "item", "score")]
        top = top_of_run(str(path), split, *columns)
        name = about["name"]
        out.append(Result.measure(name, "model", fingerprint, split, top, k=K, extra=about))
    return out


def top_of_run(
    who: str,
    split: Split,
    queries: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    scores: npt.NDArray[np.floating],
) -> npt.NDArray[np.int32]:
    """(Q, 10) int32 item_index by falling score, equal scores by item, -1 where a list is short.

    Args:
        who: the run's name, for messages.
        split: what it answers.
        queries: (N,) place in ``split.queries``, in any order.
        items: (N,) item_index.
        scores: (N,) finite.

    Raises:
        DataError: a query or item that is not there, an item twice for a query, an excluded item, a
            score that is not finite.
    """
    n, n_items = len(split), split.train.n_items
    if len(queries) == 0:
        raise DataError(explain(who, "recommendations", "none"))
    if queries.min() < 0 or queries.max() >= n or items.min() < 0 or items.max() >= n_items:
        expected = f"queries below {n:,} and items below {n_items:,}"
        got = f"queries {queries.min()}..{queries.max()}, items {items.min()}..{items.max()}"
        raise DataError(explain(who, expected, got))
    if not np.isfinite(scores).all():
        raise DataError(explain(who, "finite scores", "NaN or infinity"))
    order = np.argsort(queries, kind="stable")
    queries, items, scores = queries[order].astype(np.int64), items[order], scores[order]
    keys = queries * n_items + items
    if len(np.unique(keys)) < len(keys):
        raise DataError(explain(who, "each item once a query", "one twice"))
    excluded = split.queries.excluded
    wrong = np.isin(keys, excluded.rows * n_items + excluded.values)
    if wrong.any():
        got = f"{int(wrong.sum())} of {len(keys)} rows with one"
        do = "let the peer leave out what the query has met"
        raise DataError(explain(who, "no excluded item", got, do))
    offsets = np.searchsorted(queries, np.arange(n + 1))
    _, rank = segment_rank(offsets, (items, -np.asarray(scores, np.float64)))
    head = rank <= K
    top = np.full((n, K), -1, np.int32)
    top[queries[head], rank[head] - 1] = items[head]
    return top


def against(table: Table, name: str, peers: Sequence[str]) -> list[dict[str, Any]]:
    """The result ``name`` less each of ``peers``.

    Raises:
        DataError: there is no such result.
    """
    found = {result.name: result for result in table.results}
    if name not in found:
        raise DataError(explain("--against", f"one of {', '.join(found)}", repr(name)))
    ours, metric = found[name], table.primary
    gaps = [
        paired_difference(ours.per_query[metric], found[peer].per_query[metric], ours.users)
        for peer in peers
    ]
    corrected = holm([gap.p for gap in gaps])
    return [
        {"ours": name, "peer": peer, "difference": asdict(gap), "p_holm": p}
        for peer, gap, p in zip(peers, gaps, corrected, strict=True)
    ]


def compact(
    table: Table, peers: Sequence[Result], gaps: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Without the values of single queries: what may be committed."""
    about = {peer.name: dict(peer.extra) for peer in peers}
    return {"table": table.to_json(), "peers": about, "against": list(gaps)}


def markdown(table: Table, gaps: Sequence[dict[str, Any]]) -> str:
    """The table, and under it the differences."""
    lines = [table.markdown()]
    if gaps:
        lines += [
            f"| {gaps[0]['ours']} less | Δ {table.primary} [95 %] | p |",
            "| :-- | --: | --: |",
        ]
        for gap in gaps:
            one = gap["difference"]
            interval = f"{one['mean']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
            lines.append(f"| {gap['peer']} | {interval} | {gap['p_holm']:.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
