from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankers import gpt_attention
from rankers.gpt_attention import Plan, UnsupportedError, dense_mask
from rankers.gpt_tree import grow, lay_out

CPU = torch.device("cpu")
words = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=14)
users = st.lists(st.tuples(st.integers(1, 9), words, st.integers(0, 9)), min_size=1, max_size=3)


def by_hand(layout, query, key, value, past) -> torch.Tensor:
    """Token by token: the definition of who sees whom."""
    group = len(query) // len(key)
    key, value = key.repeat_interleave(group, 0), value.repeat_interleave(group, 0)
    out = torch.empty(query.shape[1], *query.shape[::2])
    for b, block in enumerate(layout.blocks):
        before = past[b][:, :, : block.known].repeat_interleave(group, 1)
        for j in range(block.start, block.stop):
            seen = [i for i in range(block.start, j + 1) if j < layout.end[i]]
            keys = torch.cat([before[0], key[:, seen]], 1)
            values = torch.cat([before[1], value[:, seen]], 1)
            weights = (keys @ query[:, j, :, None]).mul(0.5).softmax(1)
            out[j] = (weights * values).sum(1)
    return out


@settings(deadline=None, max_examples=25)
@given(users, st.integers(1, 8), st.booleans(), st.integers(0, 99))
def test_windows_see_what_the_definition_says(
    rows: list, window: int, whole: bool, seed: int
) -> None:
    histories = [np.arange(n) for n, _, _ in rows]
    trees = [grow([np.array(w) for w in candidates]) for _, candidates, _ in rows]
    known = [min(k, n) for n, _, k in rows]
    layout = lay_out(histories, trees, known)
    drawn = torch.Generator().manual_seed(seed)
    query, key, value = (
        torch.randn(heads, len(layout.tokens), 4, generator=drawn) for heads in (4, 2, 2)
    )
    past = [torch.randn(2, 2, n + 1, 4, generator=drawn) for n, _, _ in rows]
    given_past = [[p] if k else None for p, k in zip(past, known, strict=True)]
    before, gpt_attention._WINDOW = gpt_attention._WINDOW, window
    try:
        plan = Plan(
            layout,
            CPU,
            torch.float32,
            given_past,
            [n > k for (n, _, _), k in zip(rows, known, strict=True)],
        )
    finally:
        gpt_attention._WINDOW = before
    if whole:  # the way of a GPU, on the CPU
        plan._masks = {b: plan._mask(block) for b, block in enumerate(layout.blocks)}
    found = plan.attend(query, key, value, 0.5)
    torch.testing.assert_close(found, by_hand(layout, query, key, value, past), atol=1e-5, rtol=0)
    for b, (kept,) in plan.kept.items():  # the whole history, old and new
        block = layout.blocks[b]
        assert torch.equal(kept[:, :, : block.known], past[b][:, :, : block.known])
        assert torch.equal(kept[0, :, block.known :], key[:, block.start : block.first])
    mask = dense_mask(layout, CPU, torch.float32)[0, 0] == 0
    n = np.arange(len(layout.tokens))
    assert np.array_equal(mask.numpy(), (n <= n[:, None]) & (n[:, None] < layout.end))


def test_pairs_written_out(monkeypatch) -> None:
    monkeypatch.setattr(gpt_attention, "_WINDOW", 2)
    layout = lay_out([np.arange(5)], [grow([np.array([1, 2, 3]), np.array([1, 2, 4])])], [2])
    plan = Plan(layout, CPU, torch.float32, [None], [False])
    # 3 tokens of history look at 5; 4 nodes in two windows of 2 look at 5 of history, the window's
    # own 2, and as many as 2 ancestors: 1 and 1 2, which stand before the second window
    assert plan.pairs == 3 * 5 + 4 * (5 + 2 + 2)


def test_attention_that_trees_have_not_is_refused() -> None:
    query = torch.zeros(1, 2, 3, 4)
    with pytest.raises(UnsupportedError):  # outside of a pass
        gpt_attention._attend(None, query, query, query, None)
    layout = lay_out([np.arange(3)], [grow([])])
    plan = Plan(layout, CPU, torch.float32, [None], [False])
    token = gpt_attention._plan.set(plan)
    try:
        gpt_attention._attend(None, query, query, query, None)
        with pytest.raises(UnsupportedError, match="softcap"):
            gpt_attention._attend(None, query, query, query, None, softcap=3.0)
    finally:
        gpt_attention._plan.reset(token)
