from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusion import Dataset, Engine
from fusion.distillation.lessons import Moments, draw_moments, lessons_of
from fusion.errors import DataError

CONFIG: dict[str, Any] = {
    "retrievers": {"ease": {"reg": 5, "n": 8}, "item_knn": {"n": 8}, "popularity": {"n": 8}},
    "fusion": {"mode": "parallel", "method": {"name": "weighted_sum", "normalization": "z_score"}},
    "stacking": None,
}


@pytest.fixture(scope="module")
def engine(tiny: Dataset) -> Engine:
    return Engine.from_config(CONFIG).fit(tiny)


@pytest.fixture
def moments(tiny: Dataset) -> Moments:
    return draw_moments(tiny, 40, 3, np.random.default_rng(0))


def test_who_trains_validates_and_judges(tiny: Dataset, moments: Moments) -> None:
    # 40 users: a tenth validates, a tenth judges, 32 train at three moments each
    assert (moments.train, moments.validate, len(moments.queries)) == (96, 4, 104)
    users = moments.queries.users
    parts = [set(part.tolist()) for part in np.split(users, [96, 100])]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert len(set().union(*parts)) == 40, "nobody has two parts"
    lengths = moments.queries.history.lengths
    assert (lengths[96:] == 12).all(), "who is held is asked about now, with all 12 events"
    for user in parts[0]:
        own = lengths[:96][users[:96] == user]
        assert own.max() == 12
        assert len(set(own.tolist())) == 3
        assert own.min() >= 1


def test_a_moment_knows_the_past_and_excludes_it(tiny: Dataset, moments: Moments) -> None:
    queries = moments.queries
    for q in range(len(queries)):
        whole = tiny.histories[int(queries.users[q])]
        n = queries.history.lengths[q]
        np.testing.assert_array_equal(queries.history[q], whole[:n])
        np.testing.assert_array_equal(queries.excluded[q], whole[:n])


def test_short_histories_have_fewer_moments(tiny: Dataset) -> None:
    place = np.arange(len(tiny)) - tiny.offsets[tiny.interactions.users]
    short = tiny.where(place < 2)
    found = draw_moments(short, 40, 5, np.random.default_rng(0))
    assert found.train == 32 * 2
    once = draw_moments(tiny, 10, 1, np.random.default_rng(0))
    assert (once.train, once.validate, len(once.queries)) == (8, 1, 10)


def test_the_seed_decides(tiny: Dataset) -> None:
    a, b, c = (draw_moments(tiny, 20, 3, np.random.default_rng(s)).queries for s in (1, 1, 2))
    np.testing.assert_array_equal(a.users, b.users)
    np.testing.assert_array_equal(a.history.values, b.history.values)
    assert not np.array_equal(a.users, c.users)


def test_what_the_teacher_says_one_by_one(engine: Engine, moments: Moments, tiny: Dataset) -> None:
    lessons, judged = lessons_of(engine, moments, 6, progress=False)
    assert len(lessons) == 100
    assert lessons.held.sum() == 4
    assert len(judged) == 4
    rng = np.random.default_rng(0)
    for q in rng.permutation(len(lessons))[:10]:
        one = moments.queries.take(np.array([q]))
        rows = lessons.candidates.take(np.array([q]))
        # the first six by reciprocal ranks of the completed retrievers
        pool = engine.pool(one)
        full = pool.complete(pool.candidates(), ("ease", "item_knn", "popularity"))
        rrf = np.nansum(1 / (60 + full.ranks()), axis=1)
        first = sorted(range(len(rrf)), key=lambda i: (-round(rrf[i], 9), full.items[i]))[:6]
        assert sorted(full.items[first]) == rows.items.tolist()
        # the teacher's own score of each, standardised
        fused = engine.strategy.fuse(engine.pool(one))
        of = dict(zip(fused.candidates.items.tolist(), fused.scores.tolist(), strict=True))
        own = np.array([of[item] for item in rows.items.tolist()])
        np.testing.assert_allclose(
            lessons.take(np.array([q])).teacher, (own - own.mean()) / own.std(), atol=1e-5
        )


def test_no_candidate_is_of_the_past_and_none_of_a_held_users_events(
    engine: Engine, moments: Moments, tiny: Dataset
) -> None:
    lessons, judged = lessons_of(engine, moments, 6, progress=False)
    future = 0
    for part in (lessons, judged):
        for q in range(len(part)):
            items = set(part.candidates.items[slice(*part.candidates.offsets[q : q + 2])].tolist())
            assert not items & set(part.queries.history[q].tolist())
            later = items & set(tiny.histories[int(part.queries.users[q])].tolist())
            future += len(later)
            if part is judged or part.held[q]:
                assert not later
    assert future > 0, "earlier moments do have the user's later events among their candidates"


def test_what_the_teacher_leaves_out_has_no_score(tiny: Dataset, moments: Moments) -> None:
    fusion = {
        **CONFIG["fusion"],
        "method": {**CONFIG["fusion"]["method"], "missing": {"not_retrieved": "exclude"}},
    }
    strict = Engine.from_config({**CONFIG, "fusion": fusion}).fit(tiny)
    lessons, _ = lessons_of(strict, moments, 20, progress=False)
    known = ~np.isnan(lessons.teacher)
    assert 0 < known.sum() < len(known)


def test_too_little(tiny: Dataset, engine: Engine) -> None:
    two = tiny.where(np.isin(tiny.interactions.users, [0, 1]))
    with pytest.raises(DataError, match="three users with an event or more, got 2"):
        draw_moments(two, 40, 3, np.random.default_rng(0))
    lonely = Engine.from_config({"retrievers": {"popularity": {"n": 1}}, "stacking": None})
    lonely.fit(tiny)
    moments = draw_moments(tiny, 40, 3, np.random.default_rng(0))
    with pytest.raises(DataError, match="two candidates or more"):
        lessons_of(lonely, moments, 10, progress=False)
