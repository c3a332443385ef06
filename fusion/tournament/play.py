"""`run_tournament`: fit once, let everybody play on the same columns, recommend one.

The base models are fitted on the past of the stacking windows, score the windows' queries, and are
fitted again on all that is not test; nothing else is ever fitted but what learns from the columns.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fusion._version import __version__
from fusion.benchmark import fitted_engine, split_for
from fusion.config import EngineConfig
from fusion.config_tournament import TournamentConfig
from fusion.data.dataset import Dataset
from fusion.data.splits import Split
from fusion.engine import Engine
from fusion.errors import ConfigError, explain
from fusion.evaluation.fingerprint import Fingerprint
from fusion.progress import track
from fusion.protocols import Windows
from fusion.tournament.board import board_of, choice, nested_choice, slice_rows
from fusion.tournament.complementarity import complementarity_of
from fusion.tournament.contest import Build, Contest, Played
from fusion.tournament.costs import model_costs
from fusion.tournament.curves import curves_of
from fusion.tournament.entrants import Entrant, entrants_of
from fusion.tournament.final_look import final_look
from fusion.tournament.judging import target_ranks
from fusion.tournament.outcome import Curve, Recommended, TournamentResult
from fusion.tournament.records import Records
from fusion.tournament.writing import write_result

__all__ = ["play", "run_tournament"]

log = logging.getLogger(__name__)


def run_tournament(
    config: EngineConfig,
    data: Dataset,
    *,
    out: Path | None = None,
    progress: bool = False,
    tournament: TournamentConfig | None = None,
    extras: Sequence[Curve] = (),
) -> TournamentResult:
    """Run the tournament that ``config`` describes on the train side of ``data``.

    The test split of ``evaluation:`` is always held back, and looked at only with ``test: true``.

    Args:
        config: models, ``stacking:`` (the windows) and ``tournament:``; its own ``fusion:`` does
            not enter unless it is among ``tournament.fusions``.
        data: the whole.
        out: keep the fitted engine, each entrant's ranks and the report here; what an earlier,
            perhaps interrupted, run of the same left there is used again.
        progress: show stages and bars.
        tournament: the rules, instead of the configured ones.
        extras: more plots for the report.

    Raises:
        ConfigError: no ``stacking:``.
        DataError: too few queries, or no single model that can be judged.
        LeakageError: a column comes from a model that may have seen the labels.
    """
    started = time.perf_counter()
    rules = tournament or config.tournament or TournamentConfig()
    config = _with_windows(config)
    test = split_for(config.evaluation, data, config.seed)
    key = _key(config, test)
    engine = fitted_engine(config, test.train, out=out, key=key, progress=progress)
    fitted = time.perf_counter()
    k, cache = config.evaluation.k, None if out is None else out / "cache"
    result = play(
        engine.windows,
        engine.config.build_strategy,
        rules,
        k=k,
        seed=config.seed,
        cache=None if cache is None else cache / "entrants",
        costs=model_costs(engine, engine.windows[-1].pool.queries, rules.timed)
        if engine.windows
        else {},
        engine=engine,
        progress=progress,
        facts={
            "fingerprint": Fingerprint.of(data, test).to_json(),
            "engine": key,
            "split": dict(test.report),
            "seconds_fitting": fitted - started,
        },
    ).with_curves(extras)
    if rules.curves:
        drawn = curves_of(engine, result, folds=rules.folds, progress=progress)
        result = result.with_curves(drawn)
    if rules.test:
        chosen, single = result.recommendation, result.best_single
        alone = {"mode": "single", "model": single}
        test_records = None if cache is None else cache / "test"
        look = final_look(
            engine,
            test,
            Entrant(chosen.name, chosen.kind, chosen.fusion),
            Entrant(single, "model", alone if chosen.name != single else chosen.fusion),
            k=k,
            records=Records(test_records, f"{key} {_queries(data, test)}"),
            permutations=rules.permutations,
            rng=config.seed,
            progress=progress,
        )
        result = _with_test(result, look)
    if out is not None:
        write_result(result, out)
    return result


def play(
    windows: Windows,
    build: Build,
    rules: TournamentConfig,
    *,
    k: int = 10,
    seed: int = 0,
    cache: Path | None = None,
    costs: Mapping[str, float] | None = None,
    engine: Engine | None = None,
    progress: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> TournamentResult:
    """The tournament itself, over windows that are there already.

    Args:
        windows: out-of-window scores, the oldest first.
        build: makes a strategy from what stands under ``fusion:``, such as
            ``EngineConfig.build_strategy``.
        rules: who enters and how they are judged.
        k: length of the lists.
        seed: of all that learns and draws.
        cache: a folder for each entrant's ranks.
        costs: model -> milliseconds of asking it once.
        engine: goes with the result, and fills the defaults of the recommended fusion.
        progress: show a bar.
        facts: go with the result.

    Raises:
        DataError, LeakageError: as `run_tournament`.
    """
    started = time.perf_counter()
    contest = Contest(
        windows,
        build,
        folds=rules.folds,
        seed=seed,
        timed=rules.timed,
        catalog=None if engine is None else engine.data.catalog,
    )
    entrants = entrants_of(rules, contest.models)
    records = Records(cache, contest.fingerprint if cache is not None else "")
    played: list[Played] = []
    for entrant in track(entrants, "tournament", total=len(entrants), show=progress):
        one = records.find(entrant)
        if one is None:
            one = contest.play(entrant)
            records.keep(one)
        played.append(one)
    board = board_of(
        played,
        contest.users,
        k=k,
        permutations=rules.permutations,
        costs=costs,
        rng=seed,
    )
    name, reason = choice(board, rules, k)
    chosen = next(row for row in board.rows if row.name == name)
    pool, targets = contest.judged.pool, contest.judged.targets
    union = pool.candidates()
    in_union = target_ranks(union, np.zeros(len(union)), targets) > 0
    models = {
        one.entrant.name: one.ranks
        for one in played
        if one.entrant.kind == "model" and not one.error
    }
    failed = [row.name for row in board.rows if row.error]
    own_facts = {
        "models": list(contest.models),
        "entrants": len(entrants),
        "failed": failed,
        "queries": len(contest.users),
        "users": len(np.unique(contest.users)),
        "learnt_from_only": int(contest.folds.bounds[1]),
        "windows": len(windows),
        "folds": len(contest.folds),
        "in_time": contest.folds.in_time,
        "candidates_per_query": float(union.lengths.mean()),
        "model_ms": dict(costs or {}),
        "rules": rules.model_dump(mode="json"),
        "seed": seed,
        "version": __version__,
        "seconds_playing": time.perf_counter() - started,
    }
    return TournamentResult(
        k=k,
        alpha=rules.alpha,
        best_single=board.best_single,
        rows=board.rows,
        recommendation=Recommended(name, chosen.kind, _filled(chosen.fusion, engine), reason),
        nested=nested_choice(board, contest.folds, seed),
        slices=tuple(slice_rows(board, contest.judged, rules, name, seed)),
        complementarity=complementarity_of(models, in_union, k),
        notes=_notes(contest, board.kinds, rules, k, len(failed)),
        facts={**own_facts, **(facts or {})},
        engine=engine,
    )


def _notes(
    contest: Contest, kinds: Mapping[str, str], rules: TournamentConfig, k: int, failed: int
) -> tuple[str, ...]:
    fusions = sum(kind == "fusion" for kind in kinds.values())
    folds, judged = contest.folds, contest.users
    order = "in the order of time" if folds.in_time else "in the order of a hash of the user"
    out = [
        f"{len(judged):,} judged queries of {len(np.unique(judged)):,} users, {order}, in "
        f"{len(folds)} folds; the first {int(folds.bounds[1]):,} queries are only learnt from. "
        "What learns is fitted in each fold on the queries before it. The models had seen the "
        "window's past only.",
        f"Δ: NDCG@{k} less that of the best single model (†) on the same queries, with its 95 % "
        f"BCa bootstrap interval over users. p: one-sided randomisation test against every single "
        f"model (the largest counts), corrected for {fusions} fusions by Westfall and Young's "
        f"step-down maxT; a fusion is recommended (★) below {rules.alpha:g}.",
        "The Δ of the best of many is too large by the luck of the best. The nested estimate, "
        "whose choices are made on earlier folds, is free of that.",
    ]
    if failed:
        out.append(f"{failed} of {failed + len(kinds)} entrants failed; their rows say why.")
    return tuple(out)


def _with_windows(config: EngineConfig) -> EngineConfig:
    """A fusion that learns nothing, and windows that are cut as the test is."""
    if config.stacking is None:
        do = "leave `stacking:` out for the default window"
        raise ConfigError(explain("tournament", "a stacking window", "stacking: null", do))
    changes: dict[str, Any] = {"fusion": {"mode": "parallel"}}
    evaluation = config.evaluation
    if evaluation.split == "temporal":
        window = {"window": "temporal", "events": evaluation.events_per_user}
        changes["stacking"] = {**config.stacking.model_dump(mode="json"), **window}
    return EngineConfig.overlay(config, changes)


def _key(config: EngineConfig, test: Split) -> str:
    """Of all that the fitted models and the windows depend on."""
    parts = ("seed", "retrievers", "rankers", "stacking", "fallback", "exclude_seen")
    whole = config.to_dict()
    what = [{part: whole[part] for part in parts}, test.train.fingerprint, __version__]
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]


def _queries(data: Dataset, test: Split) -> str:
    return Fingerprint.of(data, test).queries


def _filled(fusion: Mapping[str, Any], engine: Engine | None) -> Mapping[str, Any]:
    """With every default, so that the recommendation means the same in a later version."""
    if engine is None:
        return dict(fusion)
    return EngineConfig.overlay(engine.config, {"fusion": dict(fusion)}).fusion


def _with_test(result: TournamentResult, look: Any) -> TournamentResult:
    name, single = result.recommendation.name, result.best_single
    said = f"The test split was looked at once, by {name}"
    if look.difference is None:
        said += f": NDCG@{result.k} {look.ndcg[name].mean:.4f}."
    else:
        gain = look.difference
        said += (
            f" and {single} only: {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}], "
            f"p {look.p:.4f}."
        )
    return replace(result, test=look, notes=(*result.notes, said))
