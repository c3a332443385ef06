"""MMR, DPP, xQuAD and calibration: arithmetic, parity with pyversity, invariants."""

import itertools

import numpy as np
import pytest
from after_lists import catalog_of, falling, fused_of, items_of, queries_of, random_lists, show
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.after.calibrated import divergence, greedy_calibrated
from fusion.after.dpp import greedy_map
from fusion.after.mmr import greedy_mmr
from fusion.after.scale import min_max, softmax, z_score
from fusion.after.similarity import cosine
from fusion.after.xquad import greedy_xquad
from fusion.errors import ConfigError

CATALOG = catalog_of(6, categories=[["war"], ["war"], ["war", "space"], ["space"], ["music"], None])
LIST = fused_of(falling(0, 1, 2, 3, 4))  # min-max 1, .75, .5, .25, 0
DIVERSITY = ("mmr", "dpp", "xquad", "calibrated")


def test_cosine_over_sets():
    found = cosine(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], bool))
    assert found[0, 1] == pytest.approx(1 / np.sqrt(2 * 1))
    assert found[0, 2] == pytest.approx(1 / np.sqrt(2 * 2))
    assert found[1, 2] == 0


def test_mmr_by_hand():
    shown = show([{"name": "mmr", "trade_off": 0.5}], LIST, CATALOG)
    # place 2, halves left out: i1 .75-1, i2 .5-.707, i3 .25-0, i4 0-0  -> i3
    # place 3: i1 .75-1 = -.25, i2 .5-.707 = -.207, i4 0-0 = 0 -> i4
    assert items_of(shown) == [0, 3, 4]
    assert shown.top.scores.tolist() == [5, 2, 1]  # scores stay, so they need not fall
    assert shown.notes == ((), ("mmr: from place 4",), ("mmr: from place 5",))


def test_mmr_by_vectors():
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [1, 0], [1, 0], [1, 0]], np.float32)
    step = {"name": "mmr", "trade_off": 0.5, "field": None}
    shown = show([step], LIST, CATALOG, item_vectors=lambda items: vectors[items])
    assert items_of(shown)[:2] == [0, 2]
    with pytest.raises(ConfigError, match="item vectors"):
        show([step], LIST, CATALOG)


def test_dpp_finds_the_first_pair_of_the_best_determinant():
    alike = np.array([[1, 0.9, 0.2], [0.9, 1, 0.1], [0.2, 0.1, 1]])
    log_weight = np.array([0.5, 0.4, 0.1])
    # first: the highest weight; then 1 - .9^2 at weight .4 against 1 - .2^2 at weight .1
    assert np.log(1 - 0.2**2) + 2 * 0.1 > np.log(1 - 0.9**2) + 2 * 0.4
    assert greedy_map(alike, log_weight, 3).tolist() == [0, 2, 1]


def test_dpp_gains_are_those_of_the_determinant():
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(8, 12))
    alike, log_weight = cosine(vectors), rng.normal(size=8)
    kernel = np.exp(log_weight)[:, None] * alike * np.exp(log_weight)
    expected: list[int] = []
    for _ in range(5):
        left = [i for i in range(8) if i not in expected]
        dets = [np.linalg.det(kernel[np.ix_([*expected, i], [*expected, i])]) for i in left]
        expected.append(left[int(np.argmax(dets))])
    assert greedy_map(alike, log_weight, 5).tolist() == expected


def test_dpp_stops_where_nothing_is_left_to_span():
    assert greedy_map(np.ones((3, 3)), np.zeros(3), 3).tolist() == [0]
    shown = show([{"name": "dpp", "ridge": 0}], fused_of(falling(0, 1, 3)), CATALOG)
    assert items_of(shown) == [0, 3, 1]  # i1 is i0 again; it follows behind


def test_dpp_weights_do_not_overflow():
    step = {"name": "dpp", "trade_off": 0.9999}
    assert items_of(show([step], LIST, CATALOG)) == [0, 1, 2]


def test_xquad_by_hand():
    relevance = np.array([0.5, 0.3, 0.2])
    has = np.array([[1, 0], [1, 0], [0, 1]], bool)
    # P(d|a): .5/.8, .3/.8 of the first aspect, 1 of the second, which is wanted by half
    # place 1: .625/2, .375/2, 1/2 -> item 2; covered wholly. Then item 0: .625/2
    assert greedy_xquad(relevance, has, np.array([0.5, 0.5]), 0.0, 3).tolist() == [2, 0, 1]
    # with weight .6: .3 + .4*.3125, .18 + .4*.1875, .12 + .4*.5 -> 0 (.425), then 2
    assert greedy_xquad(relevance, has, np.array([0.5, 0.5]), 0.6, 3).tolist() == [0, 2, 1]


def test_xquad_turns_to_what_is_not_covered_yet():
    relevance = np.array([0.6, 0.3, 0.05, 0.05])
    has = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool)
    # place 1: .6 * .6/.9 = .4, .6 * .3/.9 = .2, .4 * .5 = .2 twice -> 0
    # place 2: the first aspect is left by 1 - .6/.9, a third: .2 / 3 against .2 -> 2
    # place 3: .2 / 3 against .2 * (1 - .5) -> 3
    assert greedy_xquad(relevance, has, np.array([0.6, 0.4]), 0.0, 4).tolist() == [0, 2, 3, 1]


def test_xquad_follows_the_history():
    step = {"name": "xquad", "trade_off": 0.0}
    music, space = queries_of([4], exclude_seen=False), queries_of([3], exclude_seen=False)
    assert items_of(show([step], LIST, CATALOG, queries=music))[0] == 4
    assert items_of(show([step], LIST, CATALOG, queries=space))[0] == 2


def test_divergence_by_hand():
    past = np.array([0.75, 0.25])
    mixed = [0.99 * 1 + 0.01 * 0.75, 0.01 * 0.25]
    expected = 0.75 * np.log(0.75 / mixed[0]) + 0.25 * np.log(0.25 / mixed[1])
    assert divergence(past, np.array([[1.0, 0.0]]))[0] == pytest.approx(expected)


def test_calibrated_keeps_the_proportions_of_the_history():
    own = np.array([[1, 0]] * 6 + [[0, 1]] * 6, float)
    picked = greedy_calibrated(np.linspace(1, 0, 12), own, np.array([2 / 3, 1 / 3]), 0.0, 6)
    assert np.sum(picked < 6) == 4  # two thirds
    shown = show(
        [{"name": "calibrated", "trade_off": 0.1}],
        LIST,
        CATALOG,
        k=2,
        queries=queries_of([0, 4], exclude_seen=False),
    )
    assert sorted(items_of(shown)) == [0, 4]


def test_a_recent_event_may_count_more():
    step = {"name": "calibrated", "trade_off": 0.0, "half_life": 0.1}
    asked = queries_of([0, 0, 0, 4], exclude_seen=False)
    assert items_of(show([step], LIST, CATALOG, k=1, queries=asked)) == [4]


def test_calibrated_without_history_changes_nothing():
    assert items_of(show(["calibrated"], LIST, CATALOG)) == [0, 1, 2]


@pytest.mark.parametrize("name", DIVERSITY)
def test_relevance_only_is_the_fused_order(name):
    asked = queries_of([4], exclude_seen=False)
    shown = show([{"name": name, "trade_off": 1}], LIST, CATALOG, k=5, queries=asked)
    assert items_of(shown) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("diversity", [0.1, 0.5, 0.9])
def test_mmr_as_pyversity(seed, diversity):
    pyversity = pytest.importorskip("pyversity")
    rng = np.random.default_rng(seed)
    vectors = rng.random((30, 6)).astype(np.float32)
    relevance = rng.random(30)
    theirs = pyversity.mmr(vectors, relevance, k=12, diversity=diversity)
    ours = greedy_mmr(relevance, cosine(vectors), 1 - diversity, 12)
    assert ours.tolist() == theirs.indices.tolist()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("trade_off", [0.2, 0.5, 0.8])
def test_dpp_as_pyversity(seed, trade_off):
    pyversity = pytest.importorskip("pyversity")
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(30, 20)).astype(np.float32)
    relevance = rng.normal(size=30)
    alpha = trade_off / (2 * (1 - trade_off))
    # their weight is exp((1 - diversity) * scale * z)
    theirs = pyversity.dpp(vectors, relevance, k=10, diversity=0.5, scale=2 * alpha)
    ours = greedy_map(cosine(vectors), alpha * z_score(relevance), 10)
    assert ours.tolist() == theirs.indices.tolist()


def test_scales():
    assert min_max(np.array([4.0, np.nan, 2.0])).tolist() == [1, 0, 0]
    assert min_max(np.ones(2)).tolist() == [1, 1]
    assert z_score(np.ones(3)).tolist() == [0, 0, 0]
    assert softmax(np.array([1e9, 1e9])).tolist() == [0.5, 0.5]
    assert len(min_max(np.empty(0))) == len(z_score(np.empty(0))) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(DIVERSITY), st.sampled_from([0.0, 0.3, 0.8]))
def test_batch_equals_single_and_nothing_is_lost(seed, name, trade_off):
    fused, queries, catalog = random_lists(np.random.default_rng(seed))
    steps = [{"name": name, "trade_off": trade_off, "pool": 12}]
    shown = show(steps, fused, catalog, k=7, queries=queries)
    scores = dict(
        zip(
            zip(fused.candidates.rows.tolist(), fused.candidates.items.tolist(), strict=True),
            fused.scores.tolist(),
            strict=True,
        )
    )
    for q, length in enumerate(fused.candidates.lengths.tolist()):
        one = np.array([q])
        lists = fused.candidates.take(one)
        rows = slice(fused.candidates.offsets[q], fused.candidates.offsets[q + 1])
        part = fused.contributions[rows]
        alone = type(fused).of(lists, fused.scores[rows], fused.parts, part)
        single = show(steps, alone, catalog, k=7, queries=queries.take(one))
        assert items_of(single) == items_of(shown, q)
        assert len(set(items_of(shown, q))) == min(length, 7)
        own = shown.top.scores[shown.top.offsets[q] : shown.top.offsets[q + 1]].tolist()
        assert own == [scores[q, item] for item in items_of(shown, q)]


@pytest.mark.parametrize(("scale", "shift"), [(250.0, 0.0), (1e-3, 7.0)])
@pytest.mark.parametrize("name", DIVERSITY)
def test_the_scale_of_the_fusion_does_not_matter(name, scale, shift):
    rng = np.random.default_rng(5)
    fused, queries, catalog = random_lists(rng)
    other = type(fused).of(
        fused.candidates, fused.scores * scale + shift, fused.parts, fused.contributions
    )
    first = show([name], fused, catalog, k=8, queries=queries)
    second = show([name], other, catalog, k=8, queries=queries)
    assert first.top.items.tolist() == second.top.items.tolist()


def test_diversity_raises_diversity():
    rng = np.random.default_rng(11)
    fused, queries, catalog = random_lists(rng, n_queries=20)
    member = np.array([[v in own for v in "vwxyz"] for own in catalog.fields["categories"]])
    alike = cosine(member)

    def mean_similarity(steps):
        shown = show(steps, fused, catalog, k=6, queries=queries)
        pairs = [
            alike[a, b] for q in range(20) for a, b in itertools.combinations(items_of(shown, q), 2)
        ]
        return np.mean(pairs)

    plain = mean_similarity([])
    for name in ("mmr", "dpp"):
        assert mean_similarity([{"name": name, "trade_off": 0.3}]) < plain - 0.05
