"""The one look at the test split: the recommended entrant and the best single model, no other."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from fusion.data.splits import Split
from fusion.engine import Engine
from fusion.evaluation.significance import paired_difference
from fusion.progress import stage
from fusion.stacking import targets_of
from fusion.tournament.contest import Played
from fusion.tournament.entrants import Entrant
from fusion.tournament.intervals import Interval, intervals
from fusion.tournament.judging import hit, ndcg, target_ranks
from fusion.tournament.outcome import FinalLook
from fusion.tournament.records import Records

__all__ = ["final_look"]


def final_look(
    engine: Engine,
    test: Split,
    recommended: Entrant,
    single: Entrant,
    *,
    k: int,
    records: Records,
    permutations: int = 9_999,
    rng: int = 0,
    progress: bool = False,
) -> FinalLook:
    """Judge both on ``test``; a fusion that learns has learnt from all windows.

    One comparison that was fixed before the look: its p-value needs no correction.

    Args:
        engine: fitted on ``test.train``.
        test: one target a query.
        recommended: what the tournament chose.
        single: the best single model; may be the same.
        k: length of the lists.
        records: what was judged in an earlier run is not judged again.
        permutations: draws of the test.
        rng: seed of draws.
        progress: show a stage.
    """
    both = [single] if recommended.name == single.name else [recommended, single]
    with stage(f"judge {len(both)} on {len(test):,} test queries", show=progress):
        ranks = _ranks(engine, test, both, records, progress)
    values = {name: ndcg(own, k) for name, own in ranks.items()}
    means = intervals(np.array(list(values.values())), test.users, rng=rng)
    difference, p = None, None
    if len(both) == 2:
        found = paired_difference(
            values[recommended.name],
            values[single.name],
            test.users,
            permutations=permutations,
            rng=rng,
        )
        difference, p = Interval(found.mean, found.low, found.high), found.p
    params = ", ".join(f"{name}={value}" for name, value in sorted(test.params.items()))
    return FinalLook(
        f"{test.kind}({params})",
        len(test),
        len(np.unique(test.users)),
        dict(zip(values, means, strict=True)),
        {name: float(hit(own, k).mean()) for name, own in ranks.items()},
        difference,
        p,
    )


def _ranks(
    engine: Engine, test: Split, both: list[Entrant], records: Records, progress: bool
) -> dict[str, npt.NDArray[np.int64]]:
    targets = targets_of(test)
    pool = engine.pool(test.queries, progress=progress)
    out = {}
    for entrant in both:
        played = records.find(entrant)
        if played is None:
            start = time.perf_counter()
            strategy = engine.learnt(entrant.fusion)
            fused = strategy.fuse(pool)
            played = Played(
                entrant,
                target_ranks(fused.candidates, fused.scores, targets),
                strategy.learns,
                None,
                time.perf_counter() - start,
                strategy.uses(pool.models),
            )
            records.keep(played)
        out[entrant.name] = played.ranks
    return out
