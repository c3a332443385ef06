"""`distill`: a small ranker that stands for a whole engine, taught by the engine's own scores.

The teacher is any fitted engine, however many large models it fuses. The student's engine has the
teacher's retrievers and one ranker; that ranker is trained to order the retrievers' candidates as
the teacher does (`rankers.bert_distill` says how), and the way its scores are merged with the
retrievers' is the simplest that agrees best with the teacher on held-out users. See
`fusion.distillation.lessons` for what the student may see.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from fusion.config import EngineConfig
from fusion.distillation.agreement import as_matrix, top_overlap, top_tau
from fusion.distillation.fusions import fusions_of
from fusion.distillation.lessons import Distillable, Lessons, draw_moments, lessons_of
from fusion.engine import Engine
from fusion.errors import ConfigError, explain
from fusion.pool import LivePool
from fusion.progress import stage
from fusion.protocols import FitContext, Model, Provenance, Ranker, Retriever, Strategy
from fusion.registry import resolve
from fusion.stacking import popularity_share
from fusion.strategies.nesting import rows_in

__all__ = ["STUDENT", "distill", "student_name"]

#: the type of the student unless another one is asked for; any `Distillable` ranker will do
STUDENT = "bert_student"
_TAU_TOP, _OVERLAP_TOP = 20, 10


def distill(
    engine: Engine,
    *,
    layers: int | None = 3,
    users: int = 300,
    cuts: int = 3,
    candidates: int = 100,
    steps: int | None = None,
    seed: int | None = None,
    student: str = STUDENT,
    settings: Mapping[str, Any] | None = None,
    workdir: str | Path | None = None,
    progress: bool = False,
) -> Engine:
    """Teach a small ranker what the fitted ``engine`` says; an engine of its own comes back.

    It shares the fitted retrievers with ``engine``, which is left as it is. Ask one of the two at a
    time, or save and load.

    Args:
        engine: the teacher.
        layers: of the student's encoder; ``None`` = all.
        users: of the teacher's data, drawn at random: a tenth validates (60 at most), as many
            judge, the others train.
        cuts: moments of each user that train: the present and earlier ones.
        candidates: how many of the retrievers' first the student orders.
        steps: optimizer steps at most; ``None`` = the student's default.
        seed: of every random choice; ``None`` = the engine's.
        student: the student's type, a registered ranker or ``module:Class``.
        settings: other settings of the student, over those taken from the teacher's own ranker.
        workdir: keep checkpoints here and go on from them after an interruption.
        progress: show stages and bars on standard error.

    Returns:
        A fitted engine. ``engine.models[student_name(engine)].report`` tells ``tau`` (Kendall's
        tau over the pairs that decide the teacher's first 20) and ``overlap`` (of the first 10)
        with the teacher on users that neither trained nor validated: ``_retrievers`` (rrf of them
        alone), ``_before`` (the student alone, untrained), ``_student`` (alone, trained) and of the
        engine as it is; ``steps``, ``seconds``, and the numbers of parameters.

    Raises:
        NotFittedError: ``engine`` is not fitted.
        ConfigError: the student cannot be distilled, or a setting is wrong (too many layers).
        DataError: too few users, no two candidates to order, no item with text.
    """
    started = time.perf_counter()
    data = engine.data
    teachers = {n: m for n, m in engine.models.items() if isinstance(m, Ranker)}
    config, name = _config(engine, teachers, layers, candidates, steps, seed, student, settings)
    context = FitContext(
        config.seed, None if workdir is None else Path(workdir), progress, data.catalog
    )
    ranker = config.build()[1][name]
    learner = cast(Distillable, ranker)  # `_config` has seen to it
    learner.begin(data, teachers)  # what does not fit is told before the teacher is asked
    moments = draw_moments(data, users, cuts, context.rng("distill"))
    lessons, judged = lessons_of(engine, moments, candidates, progress=progress)
    retrievers = {n: m for n, m in engine.models.items() if isinstance(m, Retriever)}
    models: dict[str, Model] = {**retrievers, name: ranker}

    def pool_of(some: Lessons) -> LivePool:
        return LivePool(some.queries, models, popularity_share(data), progress=progress)

    alone = config.build_strategy()
    found = _agreement(alone, pool_of(judged), judged, "_before")
    with stage(f"teach {name} at {len(lessons):,} moments", show=progress):
        learner.distill(lessons, context)
    ranker.provenance = Provenance.of(data)
    held = lessons.take(np.flatnonzero(lessons.held))
    pool = pool_of(held)
    chosen, best = config, -np.inf
    for fusion in fusions_of(name, tuple(retrievers), candidates, pool, held):
        other = EngineConfig.overlay(config, {"fusion": fusion})
        tau = _agreement(other.build_strategy(), pool, held, "")["tau"]
        if tau > best:
            chosen, best = other, tau
    pool = pool_of(judged)
    plain = config.build_strategy({"mode": "parallel", "models": list(retrievers)})
    found |= _agreement(plain, pool, judged, "_retrievers")
    found |= _agreement(alone, pool, judged, "_student")
    found |= _agreement(chosen.build_strategy(), pool, judged, "")
    found |= {"moments": float(len(lessons)), "judged": float(len(judged))}
    found["seconds"] = time.perf_counter() - started
    learner.report |= {key: value for key, value in found.items() if not np.isnan(value)}
    return Engine.of_models(chosen, models, data)


def student_name(engine: Engine) -> str:
    """The name of the ranker that was distilled.

    Raises:
        ConfigError: ``engine`` has none.
    """
    for name, params in engine.config.rankers.items():
        if params.get("distilled_from") is not None:
            return name
    raise ConfigError(explain("student_name", "an engine that was distilled", repr(engine)))


def _config(
    engine: Engine,
    teachers: Mapping[str, Model],
    layers: int | None,
    candidates: int,
    steps: int | None,
    seed: int | None,
    student: str,
    settings: Mapping[str, Any] | None,
) -> tuple[EngineConfig, str]:
    """The student engine's configuration, its ranker alone in the last stage; and its name."""
    kind: Any = resolve("rankers", student)
    if not all(hasattr(kind, part) for part in ("student_of", "begin", "distill")):
        raise ConfigError(
            explain(f"distill, student {student!r}", "a `Distillable` ranker", kind.__name__)
        )
    config = engine.config
    name = next(
        n
        for n in ("student", *(f"student_{i}" for i in range(2, 99)))
        if n not in config.retrievers
    )
    params = {
        "type": student,
        **kind.student_of(teachers),
        "layers": layers,
        "top": candidates,
        **({} if steps is None else {"max_steps": steps}),
        **(settings or {}),
        "distilled_from": config.hash,
    }
    fusion = fusions_of(name, tuple(config.retrievers), candidates)[0]
    serving = config.to_dict()["serving"]
    made = EngineConfig.overlay(
        config,
        {
            "seed": config.seed if seed is None else seed,
            "rankers": {name: params},
            "fusion": fusion,
            "stacking": None,
            # what may name the teacher's rankers
            "evaluation": {**config.to_dict()["evaluation"], "fusions": {}},
            "serving": {**serving, "shadow": None},
            "tournament": None,
        },
    )
    return made, name


def _agreement(
    strategy: Strategy, pool: LivePool, lessons: Lessons, label: str
) -> dict[str, float]:
    """Mean tau and overlap with the teacher; NaN where the teacher orders nothing."""
    fused, rows = strategy.fuse(pool), lessons.candidates
    said = np.full(len(pool.candidates()), np.nan)
    said[rows_in(pool.candidates(), fused.candidates)] = fused.scores
    ours = as_matrix(rows, said[rows_in(pool.candidates(), rows)])
    theirs = as_matrix(rows, lessons.teacher)
    return {
        f"tau{label}": _mean(top_tau(theirs, ours, _TAU_TOP)),
        f"overlap{label}": _mean(top_overlap(theirs, ours, _OVERLAP_TOP)),
    }


def _mean(values: np.ndarray[Any, Any]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
