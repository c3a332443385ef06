from __future__ import annotations

import numpy as np
import pytest
import torch
from gpt_models import save_model
from hypothesis import given
from hypothesis import strategies as st

from rankers.gpt_base import load_model
from rankers.gpt_reader import Reader
from rankers.gpt_scoring import last_places, likelihoods, plan, yes_no
from rankers.packing import pack

RNG = np.random.default_rng(3)
HISTORIES = [RNG.integers(2, 320, n) for n in (9, 4, 17)]
CANDIDATES = [[RNG.integers(2, 320, n) for n in sizes] for sizes in ([3, 5, 1, 4], [6], [2, 2, 7])]


@pytest.fixture(scope="module", params=["llama", "gpt2", "granite"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = save_model(tmp_path_factory.mktemp(request.param), request.param)
    return load_model(folder, torch.float32)


def mean_by_hand(model, history, item) -> float:
    """One sequence, no packing, no mask: the definition."""
    ids = torch.tensor([[*history, *item]])
    with torch.no_grad():
        logs = torch.log_softmax(model(input_ids=ids).logits[0].float(), -1)
    places = range(len(history) - 1, len(history) + len(item) - 1)
    return float(np.mean([logs[p, t] for p, t in zip(places, item, strict=True)]))


def answer_by_hand(model, history, question, yes, no) -> float:
    ids = torch.tensor([[*history, *question]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, -1]
    return float(logits[yes] - logits[no])


@pytest.mark.parametrize(("longest", "budget"), [(1024, 2048), (12, 60), (16, 16)])
def test_packed_likelihood_is_that_of_separate_passes(model, longest: int, budget: int) -> None:
    found = likelihoods(Reader(model), HISTORIES, CANDIDATES, longest=longest, budget=budget)
    for history, items, scores in zip(HISTORIES, CANDIDATES, found, strict=True):
        want = [mean_by_hand(model, history, item) for item in items]
        np.testing.assert_allclose(scores, want, atol=1e-4, rtol=0)
    assert np.concatenate(found).std() > 0.02  # else anything would pass


@pytest.mark.parametrize(("longest", "budget"), [(1024, 2048), (12, 60)])
def test_packed_answers_are_those_of_separate_passes(model, longest: int, budget: int) -> None:
    found = yes_no(Reader(model), HISTORIES, CANDIDATES, (7, 11), longest=longest, budget=budget)
    for history, items, scores in zip(HISTORIES, CANDIDATES, found, strict=True):
        want = [answer_by_hand(model, history, item, 7, 11) for item in items]
        np.testing.assert_allclose(scores, want, atol=1e-4, rtol=0)
    assert np.concatenate(found).std() > 0.1


def test_bfloat16_is_near(model) -> None:
    arguments = (HISTORIES, CANDIDATES)
    exact = likelihoods(Reader(model), *arguments, longest=99, budget=99)
    import copy

    half = Reader(copy.deepcopy(model).to(torch.bfloat16))
    rough = likelihoods(half, *arguments, longest=99, budget=99)
    error = np.abs(np.concatenate(exact) - np.concatenate(rough))
    assert 0 < error.max() < 0.15


def test_last_places_written_out() -> None:
    packed = pack([[1, 2], [3]], [[[4, 5], [6]], [[7]]], pad=0)
    # row 0: history at 0-1, candidates end at 3 and 4; row 1 starts at 5: history 5, candidate 6
    assert last_places(packed).tolist() == [3, 4, 6]


def test_plan_cuts_long_queries_and_groups_short_ones() -> None:
    batches = plan([10, 2, 2], [[5, 5, 5], [3], [3]], longest=20, budget=16)
    units = [[(u.query, u.start, u.stop, u.size) for u in batch] for batch in batches]
    # sizes 5, 5, 15, 20: two rows of 5 fit 16, a third row would make 3 x 15
    assert units == [[(1, 0, 1, 5), (2, 0, 1, 5)], [(0, 2, 3, 15)], [(0, 0, 2, 20)]]


lengths = st.lists(
    st.tuples(st.integers(1, 9), st.lists(st.integers(0, 9), max_size=6)), max_size=6
)


@given(lengths, st.integers(1, 30), st.integers(1, 60))
def test_plan_covers_every_candidate_once(rows: list, longest: int, budget: int) -> None:
    histories, candidates = [h for h, _ in rows], [c for _, c in rows]
    batches = plan(histories, candidates, longest, budget)
    seen = [(u.query, i) for batch in batches for u in batch for i in range(u.start, u.stop)]
    assert sorted(seen) == [(q, i) for q, items in enumerate(candidates) for i in range(len(items))]
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(u.size for u in batch) <= budget
        for u in batch:
            assert u.size == histories[u.query] + sum(candidates[u.query][u.start : u.stop])
            assert u.size <= longest or u.stop == u.start + 1
