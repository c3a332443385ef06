from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Candidates, Queries
from fusion.candidates import Scores
from fusion.distillation.lessons import TEACHER, Lessons
from fusion.ragged import Ragged
from rankers.bert_distill_lists import (
    NO_ITEM,
    collator,
    draw_lists,
    in_batches,
    listwise_kl,
    standardized,
    usable,
)
from rankers.bert_text import Texts

NAN = float("nan")


def lessons(
    histories: list[list[int]], items: list[list[int]], scores: list[list[float]]
) -> Lessons:
    rows = Ragged.of(items)
    column = Scores.of(np.array([s for part in scores for s in part], np.float32))
    candidates = Candidates.bare(rows.offsets, rows.values).with_scores(TEACHER, column)
    held = np.zeros(len(histories), bool)
    return Lessons(Queries.from_history(Ragged.of(histories)), candidates, held)


def catalogue(texts: list[list[int]]) -> Texts:
    return Texts(Ragged.of(texts), 2, 3, 0, history_events=8, history_tokens=40)


# --- the loss ---------------------------------------------------------------------------------


def test_the_loss_written_out() -> None:
    # 2, 1, 0 have mean 1 and variance 2 / 3: z = +-sqrt(3 / 2) = +-1.2247 and 0; over T = 0.5
    e = [math.exp(z / 0.5) for z in (math.sqrt(1.5), 0, -math.sqrt(1.5))]
    p = [x / sum(e) for x in e]
    # the student has them the other way round: its softmax is p reversed
    expected = 0.5**2 * sum(a * math.log(a / b) for a, b in zip(p, p[::-1], strict=True))
    got = listwise_kl(torch.tensor([[0.0, 10.0, 20.0]]), torch.tensor([[2.0, 1.0, 0.0]]), 0.5)
    assert float(got) == pytest.approx(expected, rel=1e-4)
    # a student that says nothing has the uniform distribution
    flat = listwise_kl(torch.zeros(1, 3), torch.tensor([[2.0, 1.0, 0.0]]), 0.5)
    assert float(flat) == pytest.approx(0.25 * sum(a * math.log(3 * a) for a in p), rel=1e-4)
    # a mean over lists; one of one candidate gives 0
    both = listwise_kl(torch.zeros(2, 3), torch.tensor([[2.0, 1.0, 0.0], [5.0, NAN, NAN]]), 0.5)
    assert float(both) == pytest.approx(float(flat) / 2, rel=1e-4)


finite = st.floats(-5, 5, width=32)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=6), st.floats(0.25, 4))
def test_laws_of_the_loss(rows: list[tuple[float, float]], temperature: float) -> None:
    teacher, student = (torch.tensor([column]) for column in zip(*rows, strict=True))
    loss = float(listwise_kl(student, teacher, temperature))
    assert loss >= -1e-6 * max(1, temperature**2)  # in float32, times the square
    assert float(listwise_kl(teacher, teacher, temperature)) == pytest.approx(0, abs=1e-5)
    # neither the places without a candidate nor what stands there matter
    wider = torch.cat([teacher, torch.tensor([[NAN, NAN]])], dim=1)
    said = torch.cat([student, torch.tensor([[99.0, -7.0]])], dim=1)
    assert float(listwise_kl(said, wider, temperature)) == pytest.approx(loss, abs=1e-5)
    if student.std() > 0.5:  # only order and relative distances of the student count
        moved = float(listwise_kl(3 * student + 2, teacher, temperature))
        assert moved == pytest.approx(loss, abs=1e-3)


def test_standardized_is_numpys() -> None:
    scores = torch.tensor([[4.0, 1.0, 9.0, 50.0], [2.0, 2.0, 2.0, 2.0]])
    known = torch.tensor([[True, True, True, False], [True, True, True, True]])
    x = np.array([4.0, 1.0, 9.0])
    expected = [[*((x - x.mean()) / x.std()), 0.0], [0.0] * 4]
    np.testing.assert_allclose(standardized(scores, known).numpy(), expected, atol=1e-5)


def test_gradients_are_finite_where_all_scores_are_equal_and_point_to_the_teacher() -> None:
    student = torch.zeros(1, 3, requires_grad=True)
    listwise_kl(student, torch.tensor([[2.0, 1.0, 0.0]]), 1.0).backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert student.grad[0, 0] < 0 < student.grad[0, 2]


# --- the lists --------------------------------------------------------------------------------


def test_which_moments_can_be_used() -> None:
    texts = catalogue([[5], [6], [], [7]])
    found = usable(
        lessons(
            [[0], [0], [0], [2], []],
            [[1, 3], [1, 2], [1, 3], [1, 3], [1, 3]],
            [[1, 2], [1, 2], [1, NAN], [1, 2], [1, 2]],
        ),
        texts,
    )
    # one text only; one score only; a history without text; no history
    assert found.tolist() == [True, False, False, False, False]


def test_a_list_has_the_teachers_first_and_a_random_rest() -> None:
    n = 20
    texts = catalogue([[i + 4] for i in range(n)] + [[]])
    scores = [float(i) for i in range(n)]
    taught = lessons([[0]], [list(range(n + 1))], [[NAN, *scores[1:], 99.0]])
    moments = np.zeros(50, np.int64)
    found = draw_lists(taught, texts, moments, size=6, top=2, rng=np.random.default_rng(0))
    assert (found.items[:, :2] == [19, 18]).all()
    assert (found.scores == found.items).all()
    rest = found.items[:, 2:]
    assert all(len(set(row)) == 4 for row in rest.tolist())
    assert set(rest.ravel()) == set(range(1, 18)), "not the unscored one, nor the one without text"
    whole = draw_lists(taught, texts, moments[:1], size=30, top=2, rng=np.random.default_rng(0))
    assert sorted(whole.items[0].tolist()) == [NO_ITEM] * 11 + list(range(1, 20))
    assert np.isnan(whole.scores[0, 19:]).all()


def test_batches_are_of_like_length_and_the_incomplete_one_is_last() -> None:
    texts = catalogue([[4] * (1 + i % 7) for i in range(40)])
    taught = lessons([[0]] * 40, [[i, (i + 7) % 40] for i in range(40)], [[1.0, 0.0]] * 40)
    rng = np.random.default_rng(1)
    drawn = draw_lists(taught, texts, np.arange(39), size=2, top=1, rng=rng)
    found = in_batches(drawn, taught, texts, 4, rng)
    assert sorted(found.moments.tolist()) == list(range(39))
    assert found.items[:, 0].tolist() == found.moments.tolist()
    lengths = texts.items.lengths[found.items].sum(axis=1)
    spreads = [np.ptp(lengths[i : i + 4]) for i in range(0, 36, 4)]
    assert max(spreads) <= 2 < np.ptp(lengths)
    assert len(found.take(np.arange(36, 39))) == 3


def test_what_the_network_is_given() -> None:
    texts = catalogue([[5, 6], [7], [8]])
    taught = lessons([[0], [1]], [[1, 2], [2, 0]], [[1.0, 2.0], [3.0, NAN]])
    drawn = draw_lists(taught, texts, np.arange(2), size=2, top=1, rng=np.random.default_rng(0))
    batch = collator(drawn, taught, texts)([0, 1])
    # [CLS] history [SEP], then [CLS] item [SEP] for each; 2 and 3 are those tokens
    assert batch["tokens"][0].tolist() == [2, 5, 6, 3, 2, 8, 3, 2, 7, 3]
    assert batch["tokens"][1, :6].tolist() == [2, 7, 3, 2, 8, 3]
    np.testing.assert_array_equal(batch["labels"].numpy(), [[2.0, 1.0], [3.0, NAN]])
