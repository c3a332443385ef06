from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from gpt_models import save_model
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.work import counting
from rankers.gpt_base import load_model
from rankers.gpt_cache import HistoryCache
from rankers.gpt_reader import Reader
from rankers.gpt_scoring import last_places, likelihoods, plan, yes_no
from rankers.packing import pack

RNG = np.random.default_rng(3)
HISTORIES = [RNG.integers(2, 320, n) for n in (19, 4, 27, 19)]
#: the first user's candidates begin alike, one comes twice, one is another's beginning
STEM = RNG.integers(2, 320, 3)
CANDIDATES = [
    [np.concatenate([STEM, RNG.integers(2, 320, n)]) for n in (1, 2, 2, 5)]
    + [STEM, STEM, RNG.integers(2, 320, 1)],
    [RNG.integers(2, 320, 6)],
    [RNG.integers(2, 320, n) for n in (2, 2, 7)] + [np.array([5, i, 9]) for i in range(40)],
    [np.array([7]), np.array([8])],
]
WIDE = {"longest": 1024, "budget": 2048}
BUDGETS = [WIDE, {"longest": 40, "budget": 60}, {"longest": 16, "budget": 16}]


@pytest.fixture(scope="module", params=["llama", "gpt2", "granite"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = save_model(tmp_path_factory.mktemp(request.param), request.param)
    return load_model(folder, torch.float32)


def logits_by_hand(model, history, item) -> torch.Tensor:
    """One sequence, no packing, no mask: the definition."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([[*history, *item]])).logits[0].float()


def mean_by_hand(model, history, item) -> float:
    logs = torch.log_softmax(logits_by_hand(model, history, item), -1)
    places = range(len(history) - 1, len(history) + len(item) - 1)
    return float(np.mean([logs[p, t] for p, t in zip(places, item, strict=True)]))


@pytest.fixture(scope="module")
def likely(model) -> list[list[float]]:
    return [
        [mean_by_hand(model, h, i) for i in c] for h, c in zip(HISTORIES, CANDIDATES, strict=True)
    ]


@pytest.fixture(scope="module")
def answers(model) -> list[list[float]]:
    out = []
    for history, items in zip(HISTORIES, CANDIDATES, strict=True):
        last = [logits_by_hand(model, history, item)[-1] for item in items]
        out.append([float(one[7] - one[11]) for one in last])
    return out


def close(found, wanted) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=0)
    assert np.concatenate(found).std() > 0.02  # else anything would pass


@pytest.mark.parametrize("trees", [True, False])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("cached", [0, 2**20])
def test_scores_are_those_of_separate_passes(
    model, likely, answers, trees: bool, share: bool, budget: dict, cached: int
) -> None:
    reader = Reader(model, HistoryCache(cached))
    assert reader.trees
    reader.trees = trees
    if not trees:
        reader.cache = HistoryCache(0)
    for _ in range(2):  # the second time with what the first one kept
        close(likelihoods(reader, HISTORIES, CANDIDATES, **budget, share=share), likely)
        close(yes_no(reader, HISTORIES, CANDIDATES, (7, 11), **budget, share=share), answers)


def test_a_longer_and_a_shorter_history_go_on_from_what_is_kept(model) -> None:
    reader = Reader(model, HistoryCache(2**20))
    long, items = HISTORIES[2], CANDIDATES[2]
    turned = np.concatenate([long[:20], long[:3]])
    for history in (long[:20], long, long[:17], turned, long[:5]):
        (found,) = likelihoods(reader, [history], [items], **WIDE)
        close([found], [[mean_by_hand(model, history, item) for item in items]])


def test_what_is_kept_is_not_computed_again(tmp_path) -> None:
    reader = Reader(load_model(save_model(tmp_path), torch.float32), HistoryCache(2**20))
    counts = []
    for history in (HISTORIES[2], HISTORIES[2], np.append(HISTORIES[2], [3, 4])):
        with counting() as work:
            likelihoods(reader, [history], [CANDIDATES[1]], **WIDE)
        counts.append(work.counts)
    # 27 of history and 6 - 1 of the candidate; then the candidate only; then two new events, too
    assert [c["tokens"] for c in counts] == [32, 5, 7]
    assert [c["cache_hits"] for c in counts] == [0, 1, 1]
    assert [c["cache_misses"] for c in counts] == [1, 0, 0]
    # two layers of two heads of eight numbers, keys and values, four bytes each
    assert [c["bytes"] for c in counts] == [0, 27 * 256, 27 * 256]
    assert all(c["passes"] == 1 for c in counts)


def test_work_written_out(tmp_path) -> None:
    reader = Reader(load_model(save_model(tmp_path), torch.float32))
    items = [np.array([5, 6, 7]), np.array([5, 6, 8]), np.array([9, 6])]
    with counting() as work:
        likelihoods(reader, [HISTORIES[1]], [items], **WIDE)
    # 4 tokens of history; 5, 5 6 and 9 are read, one window of 3 nodes
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 32 * 64 * 3
    pairs = 4 * 4 + 3 * (4 + 3)
    rows = 4  # after the history, 5, 5 6 and 9
    flops = 2 * 7 * 2 * layer + 4 * pairs * 32 * 2 + 2 * rows * 320 * 32
    assert work.counts == {"tokens": 7, "passes": 1, "flops": flops, "bytes": 0}
    assert set(work.seconds) == {"prepare", "forward", "head"}
    with counting() as work:
        yes_no(reader, [HISTORIES[1]], [items], (7, 11), **WIDE)
    pairs = 4 * 4 + 6 * (4 + 6)  # six distinct prefixes
    flops = 2 * 10 * 2 * layer + 4 * pairs * 32 * 2 + 2 * 3 * 32
    assert work.counts == {"tokens": 10, "passes": 1, "flops": flops, "bytes": 0}


def test_bfloat16_is_near(model) -> None:
    exact = likelihoods(Reader(model), HISTORIES, CANDIDATES, **WIDE)
    half = Reader(copy.deepcopy(model).to(torch.bfloat16))
    rough = likelihoods(half, HISTORIES, CANDIDATES, **WIDE)
    error = np.abs(np.concatenate(exact) - np.concatenate(rough))
    assert 0 < error.max() < 0.15


def test_last_places_written_out() -> None:
    packed = pack([[1, 2], [3]], [[[4, 5], [6]], [[7]]], pad=0)
    # row 0: history at 0-1, candidates end at 3 and 4; row 1 starts at 5: history 5, candidate 6
    assert last_places(packed).tolist() == [3, 4, 6]


def units(reader, histories, candidates, **options) -> list[list[tuple[int, list[int], int]]]:
    made = plan(reader, histories, candidates, leaves=True, share=False, **options)
    return [[(u.query, sorted(u.which.tolist()), u.branches.size) for u in p] for p in made]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(load_model(save_model(tmp_path_factory.mktemp("r")), torch.float32))


def test_plan_cuts_long_queries_and_groups_short_ones(reader: Reader) -> None:
    histories = [np.arange(2, 2 + n) for n in (10, 2, 2)]
    items = [[np.full(5, 9)] * 3, [np.full(3, 9)], [np.full(3, 9)]]
    # sizes 20, 15, 5, 5: the 15 and a 5 fill 20
    assert units(reader, histories, items, longest=20, budget=20) == [
        [(0, [0, 1], 20)],
        [(0, [2], 15), (1, [0], 5)],
        [(2, [0], 5)],
    ]


lengths = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(1, 9), max_size=6)), max_size=6
)


@settings(deadline=None, max_examples=25)
@given(lengths, st.integers(1, 30), st.integers(1, 60))
def test_plan_covers_every_candidate_once(
    reader: Reader, rows: list, longest: int, budget: int
) -> None:
    histories = [np.full(h, 3) for h, _ in rows]
    candidates = [[np.full(n, 4) for n in c] for _, c in rows]
    batches = units(reader, histories, candidates, longest=longest, budget=budget)
    seen = [(q, i) for batch in batches for q, which, _ in batch for i in which]
    assert sorted(seen) == [(q, i) for q, (_, c) in enumerate(rows) for i in range(len(c))]
    for batch in batches:
        assert len(batch) == 1 or sum(size for _, _, size in batch) <= budget
        for q, which, size in batch:
            assert size == rows[q][0] + sum(rows[q][1][i] for i in which)
            assert size <= min(longest, budget) or len(which) == 1
