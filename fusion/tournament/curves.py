"""Two curves of the report: what a deadline costs, and what diversity costs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fusion.after.trade_off import trade_off
from fusion.engine import Engine
from fusion.errors import RecfusionError
from fusion.progress import stage
from fusion.serving.budget import budget_curve
from fusion.tournament.contest import Contest
from fusion.tournament.outcome import Curve, Row, TournamentResult

__all__ = ["curves_of", "quick_row"]

log = logging.getLogger(__name__)

#: seconds of learning and judging in all folds, above which a fusion is too slow to be fitted again
#: for every prefix of the models
QUICK = 20.0
#: weights of relevance in maximal marginal relevance, from accuracy to diversity
TRADE_OFFS = (0.95, 0.9, 0.8, 0.7, 0.5, 0.3)


def quick_row(result: TournamentResult) -> Row | None:
    """The recommended fusion, or the best one that is quick to fit where that is slow."""
    rows = [row for row in result.rows if row.kind == "fusion" and row.ndcg is not None]
    rows.sort(key=lambda row: row.name != result.recommendation.name)  # stable: best first
    return next((row for row in rows if row.seconds <= QUICK), None)


def curves_of(
    engine: Engine, result: TournamentResult, *, folds: int, progress: bool = False
) -> tuple[Curve, ...]:
    """The curves that can be drawn; of those that cannot, the log says why.

    Args:
        engine: fitted, with its windows; it answers with the drawn fusion afterwards.
        result: of the tournament over these windows.
        folds: as in the tournament: diversity is judged on the last one, by a fusion that learnt
            on those before it.
        progress: show stages.
    """
    row = quick_row(result)
    if row is None:
        return ()
    out = []
    for draw in (_budget, _diversity):
        try:
            with stage(f"draw {draw.__name__.strip('_')} of {row.name}", show=progress):
                out.append(draw(engine, row, folds))
        except RecfusionError as error:
            log.warning("tournament: no curve of %s: %s", draw.__name__.strip("_"), error)
    return tuple(out)


def _budget(engine: Engine, row: Row, folds: int) -> Curve:
    del folds  # each prefix is cross-fitted over users
    engine.swap({"fusion": dict(row.fusion)}, check=False)
    points = budget_curve(engine)
    steps = "; ".join(f"{point.ms:.1f} ms: + {point.models[-1]}" for point in points)
    return Curve(
        "Quality against budget",
        "milliseconds for one request",
        "NDCG@10 out of window",
        {row.name: [(point.ms, point.ndcg) for point in points]},
        f"Models in the order of value for cost, the fusion learnt anew for each prefix: {steps}.",
    )


def _diversity(engine: Engine, row: Row, folds: int) -> Curve:
    config = engine.config
    contest = Contest(
        engine.windows,
        config.build_strategy,
        folds=folds,
        seed=config.seed,
        catalog=engine.data.catalog,
    )
    past, judged = contest.last_lesson
    strategy = config.build_strategy(row.fusion)
    if strategy.learns:
        strategy.fit(past, contest.context)
    settings: Sequence[dict[str, object]] = [{"name": "mmr", "trade_off": x} for x in TRADE_OFFS]
    points = trade_off(
        strategy.fuse(judged.pool),
        judged.targets,
        settings,
        queries=judged.pool.queries,
        catalog=engine.data.catalog,
    )
    return Curve(
        "What diversity costs",
        "intra-list diversity@10 of categories",
        "NDCG@10",
        {f"{row.name}, then mmr": [(point.diversity, point.ndcg) for point in points]},
        "Left as fused, then maximal marginal relevance with its trade-off at "
        f"{', '.join(map(str, TRADE_OFFS))}; judged on the last fold.",
    )
