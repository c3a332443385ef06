"""Which fusion to ship on real data, and whether it beats what ranx can tune on the same columns.

    python benchmarks/tournament.py configs/tournament.yaml --variant latest-small --data FOLDER
    python benchmarks/tournament.py configs/tournament.yaml --tables FOLDER --out runs/beauty

Runs the tournament of the YAML, looks at the test split once with what it recommends, and then
gives ranx (a test dependency) the same out-of-window columns to tune every fusion it has, and the
same test columns to be judged on. Writes the tournament's files and ``peers.json`` and ``peers.md``
into ``--out``; an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ranx_peer import DEPTH, GRID, TEACHING, Peer, ranx_peers

from fusion.atomic import write_text
from fusion.benchmark import split_for
from fusion.config import EngineConfig
from fusion.data.load import load_data
from fusion.errors import RecfusionError
from fusion.evaluation.significance import holm, paired_difference
from fusion.progress import stage
from fusion.stacking import targets_of
from fusion.tournament import TournamentResult, run_tournament
from fusion.tournament.judging import ndcg, target_ranks


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML file with a `tournament:` section")
    parser.add_argument("--variant", help="edition of MovieLens instead of the YAML's data")
    parser.add_argument("--data", type=Path, help="folder with the publisher's files")
    parser.add_argument("--tables", type=Path, help="folder with interactions and items .parquet")
    parser.add_argument("--split", choices=["leave_last_out", "temporal"])
    parser.add_argument("--max-users", type=int, help="judge the test by so many users")
    parser.add_argument("--no-ranx", action="store_true", help="the tournament alone")
    parser.add_argument("--out", type=Path, default=Path("runs/tournament"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        run(args)
    except RecfusionError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        sys.exit(2)


def run(args: argparse.Namespace) -> None:
    """The tournament, the look at the test split, and the peers."""
    config = described(args)
    data = load_data(config.data, base=config.base_folder, progress=not args.quiet)  # type: ignore[arg-type]
    result = run_tournament(config, data, out=args.out, progress=not args.quiet)
    out: dict[str, Any] = {"tournament": result.to_json()}
    if not args.json:
        from rich.console import Console

        console = Console()
        console.rule(repr(data))
        console.print(result.rich())
    if not args.no_ranx:
        table = against_ranx(config, data, result, progress=not args.quiet)
        out["peers"] = table
        write_text(args.out / "peers.json", json.dumps(table, indent=1, allow_nan=False))
        write_text(args.out / "peers.md", markdown(table))
        if not args.json:
            print(markdown(table))
    if args.json:
        print(json.dumps(out, indent=1, allow_nan=False))


def described(args: argparse.Namespace) -> EngineConfig:
    """The YAML with the data and the split that the arguments name."""
    config = EngineConfig.from_yaml(args.config)
    changes: dict[str, Any] = {}
    if args.tables:
        names = {name: str((args.tables / f"{name}.parquet").resolve()) for name in TABLES}
        changes["data"] = {"source": "tables", **names}
    elif args.variant or args.data:
        changes["data"] = {"source": "movielens", "variant": args.variant or "latest-small"}
        if args.data:
            changes["data"]["path"] = str(args.data.resolve())
    evaluation = config.evaluation.model_dump(mode="json")
    if args.split:
        evaluation["split"] = args.split
    if args.max_users:
        evaluation["max_users"] = args.max_users
    tournament = {} if config.tournament is None else config.tournament.model_dump(mode="json")
    changes |= {"evaluation": evaluation, "tournament": {**tournament, "test": True}}
    return EngineConfig.overlay(config, changes)


TABLES = ("interactions", "items")


def against_ranx(
    config: EngineConfig, data: Any, result: TournamentResult, *, progress: bool
) -> dict[str, Any]:
    """The recommended fusion beside each of ranx's, on the test split."""
    engine = result.engine
    assert engine is not None
    test = split_for(config.evaluation, data, config.seed)
    targets, k = targets_of(test), config.evaluation.k
    pool = engine.pool(test.queries, progress=progress)
    with stage("fuse the test queries", show=progress):
        fused = engine.learnt(result.recommendation.fusion).fuse(pool)
        ours = ndcg(target_ranks(fused.candidates, fused.scores, targets), k)
        columns = pool.complete(pool.candidates(), tuple(engine.models))
    window = engine.windows[-1]
    teaching = window.pool.complete(window.pool.candidates(), window.pool.models)
    peers: list[Peer] = []
    start = time.perf_counter()
    with stage("tune and fuse with ranx", show=progress):
        for peer in ranx_peers(teaching, window.targets, columns, targets):
            peers.append(peer)
            if progress:
                print(
                    f"  {peer.method} {time.perf_counter() - start:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    differences = [
        paired_difference(ours, peer.values, test.users, rng=config.seed) for peer in peers
    ]
    corrected = holm([one.p for one in differences])
    rows = [
        {
            "method": peer.method,
            "normalization": peer.normalization,
            "taught": peer.taught,
            "ndcg": float(np.mean(peer.values)),
            "seconds": peer.seconds,
            "difference": {"mean": one.mean, "low": one.low, "high": one.high},
            "p_holm": p,
        }
        for peer, one, p in zip(peers, differences, corrected, strict=True)
    ]
    return {
        "recommended": result.recommendation.name,
        "ndcg": float(ours.mean()),
        "queries": len(ours),
        "tuned_on": {"queries": TEACHING, "depth": DEPTH, "grid": GRID},
        "split": test.kind,
        "peers": sorted(rows, key=lambda row: -float(row["ndcg"])),  # type: ignore[arg-type]
    }


def markdown(table: dict[str, Any]) -> str:
    """The peers as a GitHub table, the best first."""
    tuned = table["tuned_on"]
    lines = [
        f"{table['recommended']}: NDCG@10 {table['ndcg']:.4f} on {table['queries']:,} test queries "
        f"({table['split']}). ranx tuned each of its fusions on {tuned['queries']:,} of the same "
        f"out-of-window queries, the first {tuned['depth']} items a model, grids of at most "
        f"{tuned['grid']} weights; the normalisation is the best of six on those queries. Δ: ours "
        "less theirs, with its 95 % bootstrap interval over users; p: Holm-corrected.",
        "",
        "| ranx | normalisation | NDCG@10 | Δ [95 %] | p | seconds |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for row in table["peers"]:
        gap = row["difference"]
        lines.append(
            f"| {row['method']} | {row['normalization']} | {row['ndcg']:.4f} | {gap['mean']:+.4f} "
            f"[{gap['low']:+.4f}, {gap['high']:+.4f}] | {row['p_holm']:.4f} "
            f"| {row['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
