from __future__ import annotations

import numpy as np
import pytest
from gpt_models import tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Dataset
from rankers.gpt_examples import examples, hold_out, ndcg
from rankers.gpt_prompt import Prompts, PromptSettings


@pytest.fixture(scope="module")
def prompts(tiny: Dataset) -> Prompts:
    return Prompts.of(tiny.catalog, "title", PromptSettings(history=3), tokenizer())


def test_ndcg_written_out() -> None:
    scores = np.array([[2.0, 1.0, 3.0], [5.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    # ranks 2, 1, 3
    want = (1 / np.log2(3) + 1 + 1 / np.log2(4)) / 3
    assert ndcg(scores) == pytest.approx(want)
    assert ndcg(scores, k=1) == pytest.approx(1 / 3)
    assert ndcg(np.zeros((1, 12))) == 0.0  # a model that says nothing earns nothing
    assert ndcg(np.full((1, 12), np.nan)) == 0.0  # nor does one that diverged


def test_hold_out_takes_the_newest_events_and_only_those(tiny: Dataset, prompts: Prompts) -> None:
    rest, held = hold_out(tiny, prompts, 6, 10, np.random.default_rng(0))
    assert (len(held), len(rest)) == (6, len(tiny) - 6)
    gone = np.flatnonzero(rest.histories.lengths < tiny.histories.lengths)
    for user, history, row in zip(gone, held.histories, held.candidates, strict=True):
        whole = tiny.histories[int(user)]
        assert row[0] == whole[-1]
        assert history.tolist() == whole[:-1].tolist() == rest.histories[int(user)].tolist()
        assert not set(row[1:].tolist()) & set(whole.tolist())
        assert len(set(row.tolist())) == 10


def test_hold_out_never_takes_more_than_a_quarter(tiny: Dataset, prompts: Prompts) -> None:
    _, held = hold_out(tiny, prompts, 999, 10, np.random.default_rng(0))
    assert len(held) == tiny.n_users // 4


def test_hold_out_of_one_user_is_empty(prompts: Prompts, tiny: Dataset) -> None:
    one = tiny.where(tiny.interactions.users == 0)
    rest, held = hold_out(one, prompts, 5, 10, np.random.default_rng(0))
    assert (len(held), len(rest)) == (0, len(one))


def test_windows_follow_the_scoring_format(tiny: Dataset, prompts: Prompts) -> None:
    one = tiny.where(tiny.interactions.users == 3)  # 12 events, windows of 4
    rows = examples(
        one, prompts, "likelihood", max_tokens=10**6, negatives=1, rng=np.random.default_rng(0)
    )
    items = one.histories[3].tolist()
    assert len(rows) == 3
    for row, window in zip(rows, (items[8:], items[4:8], items[:4]), strict=True):
        as_scored = [*prompts.sequence(window[:-1]), *prompts.items[window[-1]]]
        assert [*row.history, *np.concatenate(row.candidates)] == as_scored


def test_questions_hold_one_positive_and_unseen_negatives(tiny: Dataset, prompts: Prompts) -> None:
    one = tiny.where(tiny.interactions.users == 3)
    rng = np.random.default_rng(0)
    # popularity of the whole data set, so that there is something to sample
    rows = [
        row
        for row in examples(tiny, prompts, "yes_no", max_tokens=10**6, negatives=2, rng=rng)
        if row.history.tolist() == prompts.sequence(one.histories[3][:-1]).tolist()
    ]
    spelled = {tuple(q.tolist()): i for i, q in enumerate(prompts.questions)}
    assert rows
    for row in rows:
        asked = [spelled[tuple(q.tolist())] for q in row.candidates]
        assert row.labels == (1.0, 0.0, 0.0)
        assert len(set(asked)) == 3


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3000), st.sampled_from(["likelihood", "yes_no"]), st.integers(0, 9))
def test_budget_holds_and_users_take_turns(
    tiny: Dataset, prompts: Prompts, budget: int, mode: str, seed: int
) -> None:
    rows = examples(
        tiny, prompts, mode, max_tokens=budget, negatives=2, rng=np.random.default_rng(seed)
    )
    assert len(rows) == 1 or sum(row.size for row in rows) <= budget
    first = rows[: tiny.n_users]
    if mode == "likelihood":  # the newest window of every user comes before anybody's second
        newest = {tuple(np.concatenate([prompts.items[i] for i in h[-4:]])) for h in tiny.histories}
        assert all(tuple(row.candidates[0]) in newest for row in first)
