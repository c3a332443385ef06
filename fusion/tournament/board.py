"""From what every entrant reached to rows, slices, and the one to recommend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fusion.config_tournament import TournamentConfig
from fusion.errors import DataError, explain
from fusion.protocols import Labelled
from fusion.tournament.blocks import Folds
from fusion.tournament.contest import Played
from fusion.tournament.family import against_all
from fusion.tournament.intervals import Interval, intervals
from fusion.tournament.judging import hit, ndcg, reciprocal_rank
from fusion.tournament.outcome import Row, SliceRow, p_text
from fusion.tournament.slices import slices_of

__all__ = ["Board", "board_of", "choice", "nested_choice", "slice_rows"]

Values = npt.NDArray[np.float64]
#: fusions whose slices are reported, beside every model
SLICED = 5


@dataclass(frozen=True)
class Board:
    """The entrants that were judged.

    Attributes:
        rows: of all, the highest NDCG first; those that failed last.
        values: name -> (J,) NDCG@k of each judged query, in the order in which they entered.
        kinds: name -> ``"model"`` or ``"fusion"``.
        users: (J,) cluster of each query.
        best_single: the model with the highest mean; of equal ones the first.
    """

    rows: tuple[Row, ...]
    values: Mapping[str, Values]
    kinds: Mapping[str, str]
    users: npt.NDArray[np.int64]
    best_single: str


def board_of(
    played: Sequence[Played],
    users: npt.NDArray[np.int64],
    *,
    k: int,
    permutations: int,
    costs: Mapping[str, float] | None = None,
    rng: int = 0,
) -> Board:
    """Rows with intervals and corrected p-values.

    Args:
        played: what each entrant reached.
        users: (J,) integers.
        k: length of the lists.
        permutations: see `against_all`.
        costs: model -> milliseconds of asking it once.
        rng: seed of draws.

    Raises:
        DataError: no single model could be judged.
    """
    done = [one for one in played if not one.error]
    values = {one.entrant.name: ndcg(one.ranks, k) for one in done}
    kinds = {one.entrant.name: one.entrant.kind for one in done}
    models = [name for name, kind in kinds.items() if kind == "model"]
    fusions = [name for name, kind in kinds.items() if kind == "fusion"]
    if not models:
        failed = "; ".join(f"{one.entrant.name}: {one.error}" for one in played)
        raise DataError(explain("tournament", "a single model to compare with", failed or "none"))
    best = max(models, key=lambda name: float(values[name].mean()))
    table = np.array(list(values.values()))
    means = dict(zip(values, intervals(table, users, rng=rng), strict=True))
    differences: dict[str, Interval] = {}
    p: dict[str, float] = {}
    if fusions:
        of_fusions = np.array([values[name] for name in fusions])
        of_models = np.array([values[name] for name in models])
        gains = intervals(of_fusions - values[best], users, rng=rng)
        differences = dict(zip(fusions, gains, strict=True))
        corrected = against_all(of_fusions, of_models, users, permutations=permutations, rng=rng)
        p = dict(zip(fusions, map(float, corrected), strict=True))
    first: dict[bytes, str] = {}
    rows = []
    for one in played:
        entrant, name = one.entrant, one.entrant.name
        if one.error:
            rows.append(
                Row(name, entrant.kind, entrant.fusion, seconds=one.seconds, error=one.error)
            )
            continue
        twin = first.setdefault(one.ranks.tobytes(), name)
        rows.append(
            Row(
                name,
                entrant.kind,
                entrant.fusion,
                one.learns,
                means[name],
                float(hit(one.ranks, k).mean()),
                float(reciprocal_rank(one.ranks, k).mean()),
                differences.get(name),
                p.get(name),
                one.fusing_ms,
                _total(one, costs or {}),
                one.seconds,
                "" if twin == name else twin,
                one.fell_back,
            )
        )
    rows.sort(key=lambda row: -np.inf if row.ndcg is None else row.ndcg.mean, reverse=True)
    return Board(tuple(rows), values, kinds, users, best)


def _total(one: Played, costs: Mapping[str, float]) -> float | None:
    if one.fusing_ms is None or any(name not in costs for name in one.asks):
        return None
    return one.fusing_ms + sum(costs[name] for name in one.asks)


def choice(board: Board, config: TournamentConfig, k: int) -> tuple[str, str]:
    """The name of what to ship, and why.

    The fusion of the highest mean among those with a corrected p below ``config.alpha``; where
    there is none, the best single model.
    """
    alpha, best = config.alpha, board.best_single
    fusions = [row for row in board.rows if row.kind == "fusion" and row.p is not None]
    single = next(row for row in board.rows if row.name == best)
    assert single.ndcg is not None
    reached = f"NDCG@{k} {single.ndcg.mean:.4f}"
    if not fusions:
        return best, f"there is no fusion to compare; {best} is the best single model ({reached})"
    better = [row for row in fusions if row.p is not None and row.p < alpha]
    if better:
        row = better[0]  # the rows are sorted
        assert row.ndcg is not None
        assert row.difference is not None
        assert row.p is not None
        gain = row.difference
        return row.name, (
            f"{row.name} reaches NDCG@{k} {row.ndcg.mean:.4f}, {gain.mean:+.4f} "
            f"[{gain.low:+.4f}, {gain.high:+.4f}] over {best}, the best single model ({reached}); "
            f"its p against every single model, corrected for {len(fusions)} fusions, is "
            f"{p_text(row.p)}, below {alpha:g}"
        )
    row = min(fusions, key=lambda one: 1.0 if one.p is None else one.p)
    assert row.difference is not None
    assert row.p is not None
    return best, (
        f"no fusion is significantly better than every single model: {row.name} comes nearest "
        f"with {row.difference.mean:+.4f} over {best} and a corrected p of {p_text(row.p)}, not "
        f"below {alpha:g}. So {best}, the best single model ({reached}), is what to ship"
    )


def nested_choice(board: Board, folds: Folds, rng: int = 0) -> Interval | None:
    """What choosing the best fusion is worth, the choice being made on earlier folds only.

    In each fold from the second on: the fusion of the highest mean so far, less the single model of
    the highest mean so far. ``None`` without a fusion.
    """
    names = {
        kind: [name for name, own in board.kinds.items() if own == kind]
        for kind in ("model", "fusion")
    }
    if not names["fusion"]:
        return None
    fold_of = folds.fold_of
    parts = []
    for fold in range(1, len(folds)):
        seen, now = fold_of < fold, fold_of == fold
        chosen = {
            kind: max(names[kind], key=lambda name: float(board.values[name][seen].mean()))
            for kind in names
        }
        parts.append((board.values[chosen["fusion"]] - board.values[chosen["model"]])[now])
    later = fold_of >= 1
    return intervals(np.concatenate(parts)[None], board.users[later], rng=rng)[0]


def slice_rows(
    board: Board, judged: Labelled, config: TournamentConfig, recommended: str, rng: int = 0
) -> list[SliceRow]:
    """Every model, the best few fusions and the recommended one, on each slice."""
    fusions = [row.name for row in board.rows if row.kind == "fusion" and not row.error]
    apart = [row.name for row in board.rows if row.same_as]
    names = [name for name, kind in board.kinds.items() if kind == "model"]
    chosen = [name for name in fusions if name not in apart][:SLICED]
    if recommended not in (*names, *chosen):
        chosen.append(recommended)
    names += chosen
    table = np.array([board.values[name] for name in names])
    gains = table - board.values[board.best_single]
    out = []
    for part in slices_of(judged, head_share=config.head_share, cold_share=config.cold_share):
        n = int(part.mask.sum())
        means: list[Interval | None] = [None] * len(names)
        less: list[Interval | None] = [None] * len(names)
        if n:
            users = board.users[part.mask]
            means = list(intervals(table[:, part.mask], users, rng=rng))
            less = list(intervals(gains[:, part.mask], users, rng=rng))
        out += [
            SliceRow(
                part.name,
                part.rule,
                n,
                name,
                mean,
                None if name == board.best_single else difference,
            )
            for name, mean, difference in zip(names, means, less, strict=True)
        ]
    return out
