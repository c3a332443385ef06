"""What stackers learn from: views end to end, and a sample of their rows."""

from __future__ import annotations

import numpy as np
from fusion_layer.pools import window_of
from lessons import lesson_of, view_of

from fusion.stackers.base import Teaching


def two() -> Teaching:
    older, newer = window_of(3, width=5), window_of(2, width=7, seed=1)
    views = (view_of(older), view_of(newer))
    labels = [w.labels(v.candidates) for w, v in zip((older, newer), views, strict=True)]
    return Teaching.of(views, np.concatenate(labels))


def test_views_stand_end_to_end() -> None:
    lesson = two()
    assert lesson.models == ("strong", "weak")
    assert lesson.offsets.tolist() == [0, 5, 10, 15, 22, 29]
    assert lesson.users.tolist() == [0, 1, 2, 0, 1]
    rows, note = lesson.rows(lambda view: (view.candidates.items, "item"))
    expected = np.concatenate([view.candidates.items for view in lesson.views])
    np.testing.assert_array_equal(rows, expected)
    assert note == "item"
    assert lesson.targets.sum() == 5


def test_a_sample_keeps_every_target() -> None:
    lesson = two().sampled(2, np.random.default_rng(0))
    assert lesson.offsets.tolist() == [0, 3, 6, 9, 12, 15]
    sums = np.add.reduceat(lesson.targets, lesson.offsets[:-1])
    assert sums.tolist() == [1] * 5
    rows, _ = lesson.rows(lambda view: (view.candidates.items, None))
    assert len(rows) == 15


def test_without_a_sample_nothing_is_drawn() -> None:
    rng, lesson = np.random.default_rng(0), lesson_of(window_of(4))
    assert lesson.sampled(None, rng) is lesson
    assert rng.random() == np.random.default_rng(0).random()


def test_a_view_of_some_queries() -> None:
    view = view_of(window_of(4, width=6))
    few = view.take(np.array([2, 0]))
    np.testing.assert_array_equal(few.ages, view.ages[[2, 0]])
    assert few.candidates.lengths.tolist() == [6, 6]
    assert few.queries.users.tolist() == [2, 0]
