from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import tiny_frames

from fusion import Candidates, Dataset, Engine, Queries
from fusion.artifacts import read_json, write_json
from fusion.candidates import Scores
from fusion.distillation import distill, student_name
from fusion.distillation.lessons import Lessons
from fusion.errors import ConfigError, DataError, NotFittedError
from fusion.protocols import FitContext, Model, Ranker, RankerConfig

HERE = f"{__name__}:Clerk"
CONFIG: dict[str, Any] = {
    "seed": 3,
    "retrievers": {"ease": {"reg": 5}, "item_knn": {}, "popularity": {}},
    "fusion": {"mode": "parallel", "models": ["ease"]},
    "stacking": None,
    "fallback": "popularity",
    "after": [{"name": "filter", "deny": ["i3"]}],
    "evaluation": {"k": 5, "fusions": {"plain": {"mode": "parallel"}}},
}


class ClerkConfig(RankerConfig):
    layers: int | None = None
    max_steps: int = 1
    distilled_from: str | None = None
    shared: int = 0


class Clerk(Ranker):
    """A student without a network: it remembers the mean of what the teacher said of each item."""

    Config = ClerkConfig

    @classmethod
    def student_of(cls, models: Mapping[str, Model]) -> dict[str, Any]:
        return {"shared": len(models)}

    def begin(self, data: Dataset, models: Mapping[str, Model]) -> None:
        if self.config.layers == 99:
            raise ConfigError("no such layers")
        self.report: dict[str, Any] = {"parameters": 1.0, "teacher_parameters": 2.0}
        self.values = np.zeros(data.n_items, np.float32)

    def distill(self, lessons: Lessons, context: FitContext) -> None:
        self.lessons, self.context = lessons, context
        known = ~np.isnan(lessons.teacher)
        items = lessons.candidates.items[known]
        total = np.bincount(items, lessons.teacher[known], len(self.values))
        count = np.bincount(items, minlength=len(self.values))
        self.values = (total / np.maximum(count, 1)).astype(np.float32)
        self.report["steps"] = 1.0

    def fit(self, data: Dataset, context: FitContext) -> None:
        self.values = np.zeros(data.n_items, np.float32)

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        return Scores.of(self.values[candidates.items])

    def save(self, folder: Path) -> None:
        write_json(folder / "clerk.json", {"v": self.values.tolist(), "report": self.report})

    def load(self, folder: Path, data: Dataset) -> None:
        state = read_json(folder / "clerk.json")
        self.values, self.report = np.array(state["v"], np.float32), state["report"]


@pytest.fixture(scope="module")
def teacher(tiny: Dataset) -> Engine:
    return Engine.from_config(CONFIG).fit(tiny)


@pytest.fixture(scope="module")
def student(teacher: Engine) -> Engine:
    return distill(teacher, users=40, candidates=12, steps=7, layers=2, student=HERE)


def test_what_the_students_engine_is(teacher: Engine, student: Engine) -> None:
    assert student_name(student) == "student"
    assert list(student.models) == ["ease", "item_knn", "popularity", "student"]
    for name in CONFIG["retrievers"]:
        assert student.models[name] is teacher.models[name], "fitted once"
    config = student.config.rankers["student"]
    assert config["distilled_from"] == teacher.config.hash
    assert (config["type"], config["top"], config["max_steps"]) == (HERE, 12, 7)
    assert (config["layers"], config["shared"]) == (2, 0)
    assert student.config.fusion["stages"][0]["keep"] == 12
    # the rules and the fallback are the teacher's; what may name its rankers is not taken over
    assert student.config.after == teacher.config.after
    assert student.config.fallback == "popularity"
    assert student.config.seed == 3
    assert student.config.evaluation.k == 5
    assert not student.config.evaluation.fusions
    assert student.data is teacher.data
    assert teacher.config.hash != student.config.hash
    assert list(teacher.models) == ["ease", "item_knn", "popularity"]


def test_the_student_sees_the_teachers_users_and_not_the_judges(
    student: Engine, tiny: Dataset
) -> None:
    clerk: Any = student.models["student"]
    assert clerk.context.seed == 3
    assert len(clerk.lessons) == 32 * 3 + 4
    assert clerk.report["moments"] == 100
    assert clerk.report["judged"] == 4
    assert len(set(clerk.lessons.queries.users.tolist())) == 36, "four judge"
    assert clerk.provenance.fingerprint == tiny.fingerprint


def test_the_fusion_that_agrees_best_is_taken(student: Engine) -> None:
    # the teacher is one of the retrievers, so that the best weighted sum is nearly that one
    last = student.config.fusion["stages"][1]
    assert last["weights"]["ease"] > 0.7
    report: Any = student.models["student"].report  # type: ignore[attr-defined]
    assert report["tau"] > report["tau_student"]
    assert report["tau"] > report["tau_retrievers"]
    assert report["tau"] > 0.9
    assert report["overlap"] > 0.9
    assert abs(report["tau_before"]) < 0.2, "untrained, the clerk says the same of all"
    assert report["seconds"] > 0


def test_it_is_saved_and_loaded_like_any_other(student: Engine, tmp_path: Path) -> None:
    student.save(tmp_path / "student")
    loaded = Engine.load(tmp_path / "student")
    assert loaded.config == student.config
    assert student_name(loaded) == "student"
    for user in ("u1", "u7"):
        ours, theirs = student.recommend(user, 5), loaded.recommend(user, 5)
        assert [(r.item_id, r.score) for r in ours] == [(r.item_id, r.score) for r in theirs]
        assert ours, "something is recommended"
    assert loaded.recommend("u1", 5, deadline_ms=60_000)
    assert loaded.models["student"].report == student.models["student"].report  # type: ignore[attr-defined]


def test_the_same_seed_teaches_the_same(teacher: Engine) -> None:
    options: dict[str, Any] = {"users": 20, "candidates": 12, "student": HERE}
    a, b, c = (distill(teacher, seed=seed, **options).models["student"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a.values, b.values)  # type: ignore[attr-defined]
    assert not np.array_equal(a.values, c.values)  # type: ignore[attr-defined]


def test_a_students_student(student: Engine) -> None:
    grandchild = distill(student, users=20, candidates=12, student=HERE)
    assert grandchild.config.rankers["student"]["distilled_from"] == student.config.hash
    assert grandchild.config.rankers["student"]["shared"] == 1
    assert grandchild.models["student"] is not student.models["student"]


def test_a_retriever_may_be_called_student(tiny: Dataset) -> None:
    retrievers = {"student": {"type": "popularity"}, "ease": {}}
    engine = Engine.from_config({"retrievers": retrievers, "stacking": None}).fit(tiny)
    made = distill(engine, users=20, candidates=12, student=HERE)
    assert student_name(made) == "student_2"


def test_what_it_refuses(teacher: Engine, tiny: Dataset) -> None:
    with pytest.raises(NotFittedError):
        distill(Engine.from_config(CONFIG), student=HERE)
    with pytest.raises(ConfigError, match="Distillable"):
        distill(teacher, student="gpt")
    with pytest.raises(ConfigError, match="no such layers"):
        distill(teacher, layers=99, student=HERE)
    with pytest.raises(ConfigError, match="tempo"):
        distill(teacher, student=HERE, settings={"tempo": 1})
    with pytest.raises(ConfigError, match="an engine that was distilled"):
        student_name(teacher)
    with pytest.raises(DataError, match="three users"):
        distill(teacher, users=2, student=HERE)
    # a retriever without a second candidate has no order to teach
    lonely = Engine.from_config({"retrievers": {"popularity": {"n": 1}}, "stacking": None})
    with pytest.raises(DataError, match="two candidates or more"):
        distill(lonely.fit(tiny), users=20, student=HERE)


# --- with a network, by the command -----------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved engine with a tiny BERT."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "rankers"))
    try:
        from bert_models import save_model
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("distil")
    bert = {"base_model": str(save_model(folder / "base")), "dtype": "float32", "max_steps": 2}
    bert |= {"item_tokens": 8, "history_tokens": 40, "batch_size": 4, "validation_users": 0}
    config = {**CONFIG, "rankers": {"bert": bert}, "after": [], "fusion": {"mode": "parallel"}}
    engine = Engine.from_config(config).fit(Dataset.from_frames(*tiny_frames()))
    engine.save(folder / "teacher")
    return folder


def run(*arguments: object) -> int:
    import typer

    from fusion.commands.distilling import distill as command

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    with pytest.raises(SystemExit) as caught:
        app([str(a) for a in arguments])
    return int(caught.value.code or 0)


def test_one_command(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = saved / "student"
    options = ["--layers", 1, "--users", 20, "--cuts", 2, "--candidates", 15, "--steps", 4]
    assert run(saved / "teacher", "--out", out, *options, "--json", "--quiet") == 0
    told = capsys.readouterr()
    assert told.err == ""
    found = json.loads(told.out)
    assert (found["student"], found["layers"], found["steps"]) == ("student", 1, 4)
    assert 0 < found["parameters"] < found["teacher_parameters"]
    for key in ("tau", "tau_before", "tau_student", "tau_retrievers", "validation"):
        assert -1 <= found[key] <= 1
    engine = Engine.load(out)
    assert engine.config.rankers["student"]["distilled_from"] == found["distilled_from"]
    assert found["distilled_from"] == Engine.load(saved / "teacher").config.hash
    # the text is read as the teacher's BERT reads it
    assert engine.config.rankers["student"]["item_tokens"] == 8
    assert len(engine.recommend("u1", 5)) == 5

    assert run(saved / "teacher", "--out", out, *options, "--quiet") == 0
    shown = capsys.readouterr().out
    assert "student, trained" in shown
    assert "1 layers" in shown


def test_what_the_command_refuses(saved: Path) -> None:
    with pytest.raises(ConfigError, match="at most the 2 that it has, got 3"):
        run(saved / "teacher", "--out", saved / "never", "--quiet")
    assert not (saved / "never").exists()


def test_items_without_text(tiny: Dataset) -> None:
    interactions, _ = tiny_frames()
    engine = Engine.from_config({"retrievers": {"popularity": {}}, "stacking": None})
    with pytest.raises(DataError, match="items with text"):
        distill(engine.fit(Dataset.from_frames(interactions)), users=20)
