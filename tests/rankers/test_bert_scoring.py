from __future__ import annotations

import numpy as np
import pytest
from bert_models import encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion import Candidates, Queries
from fusion.ragged import Ragged
from fusion.work import counting
from rankers.bert_model import Net
from rankers.bert_scoring import passes, plan, score_rows
from rankers.bert_text import Texts

# item 0 has no text; item i has i tokens
TEXTS = Texts(Ragged.of([[10 + i] * i for i in range(8)]), 2, 3, 0, 4, 12)


def case(histories: list[list[int]], items: list[list[int]]) -> tuple[Queries, Candidates]:
    rows = Ragged.of(items)
    return Queries.from_history(Ragged.of(histories)), Candidates.bare(rows.offsets, rows.values)


def test_a_plan_written_out() -> None:
    queries, candidates = case([[1, 2], [0], [3]], [[1, 2, 0, 3], [1, 2], [7]])
    histories, sequences = plan(queries, candidates, TEXTS, 15)
    # [CLS] 11 12 12 [SEP]: 5; candidates cost 3, 4, nothing and 5 of the 10 that are left
    assert histories == [[2, 11, 12, 12, 3], [], [2, 13, 13, 13, 3]]
    assert [(s.query, s.rows.tolist(), s.tokens) for s in sequences] == [
        (0, [0, 1], 12),
        (0, [3], 10),
        (2, [6], 14),
    ]


def test_a_candidate_longer_than_the_limit_stands_alone() -> None:
    _, sequences = plan(*case([[1]], [[7, 6]]), TEXTS, 4)
    assert [s.rows.tolist() for s in sequences] == [[0], [1]]


batches = st.lists(
    st.tuples(
        st.lists(st.integers(0, 7), max_size=5),
        st.lists(st.integers(0, 7), max_size=8, unique=True),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(batches, st.integers(1, 60), st.integers(1, 200))
def test_every_row_that_can_be_read_is_in_one_pass(
    batch: list[tuple[list[int], list[int]]], max_tokens: int, batch_tokens: int
) -> None:
    queries, candidates = case([h for h, _ in batch], [c for _, c in batch])
    histories, sequences = plan(queries, candidates, TEXTS, max_tokens)
    for s in sequences:
        items = candidates.items[s.rows]
        assert s.tokens == len(histories[s.query]) + sum(int(i) + 2 for i in items)
        assert s.tokens <= max_tokens or len(s.rows) == 1
        assert (candidates.rows[s.rows] == s.query).all()
    expected = [
        row
        for row, (q, item) in enumerate(zip(candidates.rows, candidates.items, strict=True))
        if item > 0 and histories[q]
    ]
    together = list(passes(sequences, batch_tokens))
    assert sorted(row for p in together for s in p for row in s.rows.tolist()) == expected
    for p in together:
        assert sum(s.tokens for s in p) <= batch_tokens or len(p) == 1


@pytest.fixture(scope="module")
def net() -> Net:
    return Net(encoder(), rating=False, history_bias=-1.0, dropout=0.0).eval()


def test_neither_the_limits_nor_the_neighbours_change_a_score(net: Net) -> None:
    queries, candidates = case([[1, 2], [0], [3, 5], []], [[1, 2, 0, 3, 7], [1, 2], [7, 6], [4]])
    scores = [
        score_rows(net, TEXTS, queries, candidates, max_tokens=m, batch_tokens=b)
        for m, b in ((1, 1), (15, 30), (20, 1000), (1000, 1000))
    ]
    nan = [2, 5, 6, 9]  # the item without text, the queries without a history that can be read
    assert np.flatnonzero(np.isnan(scores[0])).tolist() == nan
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-5, atol=1e-5)
    assert np.nanstd(scores[0]) > 1e-3


def test_the_work_is_that_of_the_tokens_and_of_the_pairs_in_blocks(net: Net) -> None:
    queries, candidates = case([[1, 2]], [[1, 2, 0, 3]])
    with counting() as work:
        score_rows(net, TEXTS, queries, candidates, max_tokens=100, batch_tokens=100)
    # history 3 + 2 specials; candidates of 3, 4 and 5 tokens with theirs, padded to 5 in attention
    tokens = 5 + 3 + 4 + 5
    pairs = 5 * 5 + 3 * 5 * (5 + 5)
    matrices = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert work.counts == {
        "tokens": tokens,
        "passes": 1,
        "flops": 2 * tokens * matrices + 2 * 4 * pairs * 32,
    }
    assert {"tokenize", "forward"} <= work.seconds.keys()
