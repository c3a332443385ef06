from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankers.packing import HISTORY, PADDING, attention_mask, pack

tokens = st.lists(st.integers(0, 99), min_size=1, max_size=4)
rows = st.lists(
    st.tuples(tokens, st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=4)),
    min_size=1,
    max_size=4,
)


def test_two_rows_with_padding() -> None:
    packed = pack([[7, 8], [9]], [[[1], [2, 3]], [[4]]], pad=5)
    assert packed.tokens.tolist() == [[7, 8, 1, 2, 3], [9, 4, 5, 5, 5]]
    assert packed.positions.tolist() == [[0, 1, 2, 2, 3], [0, 1, 0, 0, 0]]
    assert packed.segments.tolist() == [[0, 0, 1, 2, 2], [0, 1, -1, -1, -1]]


def test_mask_written_out() -> None:
    segments = torch.tensor([[0, 0, 1, 2, -1]])
    low = torch.finfo(torch.float32).min
    causal = attention_mask(segments, causal=True, dtype=torch.float32)
    assert (causal == 0).int()[0, 0].tolist() == [
        [1, 0, 0, 0, 0],  # the history's first token sees itself
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],  # candidate 1 sees the history and itself
        [1, 1, 0, 1, 0],  # candidate 2 does not see candidate 1
        [0, 0, 0, 0, 1],  # padding sees itself alone
    ]
    assert set(causal.unique().tolist()) == {low, 0.0}
    both = attention_mask(segments, causal=False, dtype=torch.float32)
    assert (both == 0).int()[0, 0].tolist() == [
        [1, 1, 0, 0, 0],  # the history sees its own future, never a candidate
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


@given(rows)
def test_every_token_stands_once_and_goes_on_from_the_history(rows: list) -> None:
    packed = pack([h for h, _ in rows], [c for _, c in rows], pad=-7)
    for b, (history, items) in enumerate(rows):
        inside = packed.segments[b] == HISTORY
        assert packed.tokens[b][inside].tolist() == history
        for c, item in enumerate(items):
            inside = packed.segments[b] == c + 1
            assert packed.tokens[b][inside].tolist() == item
            assert packed.positions[b][inside].tolist() == [
                len(history) + i for i in range(len(item))
            ]
        padding = packed.segments[b] == PADDING
        assert (packed.tokens[b][padding] == -7).all()
        assert padding.sum() == packed.tokens.shape[1] - len(history) - sum(map(len, items))


@given(rows, st.booleans())
def test_no_token_looks_at_another_candidate_and_none_looks_nowhere(
    rows: list, causal: bool
) -> None:
    packed = pack([h for h, _ in rows], [c for _, c in rows], pad=0)
    segments = torch.from_numpy(packed.segments)
    seen = (attention_mask(segments, causal=causal, dtype=torch.bfloat16) == 0)[:, 0].numpy()
    assert seen.any(axis=2).all()
    mine, other = packed.segments[:, :, None], packed.segments[:, None, :]
    assert not (seen & (other > 0) & (mine != other)).any()
    assert not (seen & (other == PADDING) & (mine != PADDING)).any()
    if causal:
        size = packed.tokens.shape[1]
        assert not (seen & np.triu(np.ones((size, size), bool), 1)).any()


def test_unequal_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        pack([[1], [2]], [[[3]]], pad=0)
