from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankers.bert_blocks import Blocks, block_attention
from rankers.packing import attention_mask

tables = st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=3)


def dense(segments: torch.Tensor, bias: float | None, qkv: list[torch.Tensor]) -> torch.Tensor:
    """(T, H, d) by one (T, T) matrix under a mask."""
    mask = attention_mask(segments, causal=False, dtype=torch.float32)
    across = (segments[:, :, None] > 0) & (segments[:, None, :] == 0)
    mask = mask.masked_fill(across[:, None], -1e30 if bias is None else bias)
    q, k, v = qkv
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(-1)
    return (weights @ v)[0].transpose(0, 1)


@settings(max_examples=25, deadline=None)
@given(tables, st.sampled_from([None, -3.0, 0.0]))
def test_blocks_equal_one_matrix_under_a_mask(table: list[list[int]], bias: float | None) -> None:
    lengths = np.array(table) + np.array([1, 0, 0])  # a history is never empty
    total = int(lengths.sum())
    generator = torch.Generator().manual_seed(total)
    qkv = [torch.randn(1, 2, total, 4, generator=generator) for _ in range(3)]
    found, _ = block_attention(torch.nn.Module(), *qkv, None, blocks=Blocks.of(lengths, bias))
    start = 0
    for row in lengths:
        here = slice(start, start + int(row.sum()))
        segments = torch.from_numpy(np.repeat(np.arange(3), row))[None]
        expected = dense(segments, bias, [x[:, :, here] for x in qkv])
        torch.testing.assert_close(found[0, here], expected, rtol=1e-4, atol=1e-5)
        start = here.stop


def test_pairs_written_out() -> None:
    lengths = np.array([[5, 2, 3], [4, 3, 0]])  # histories padded to 5, candidates to 3
    # 2 histories of 5 x 5, and 2 x 2 candidates of 3 tokens, each looking at 5 + 3 or at 3
    assert Blocks.of(lengths, -3.0).pairs == 2 * 25 + 4 * 3 * 8
    assert Blocks.of(lengths, None).pairs == 2 * 25 + 4 * 3 * 3


def test_means_written_out() -> None:
    blocks = Blocks.of(np.array([[2, 1, 0], [1, 2, 1]]), None)
    states = torch.tensor([[1.0], [3.0], [5.0], [7.0], [9.0], [11.0], [13.0]])
    history, items = blocks.means(states)
    assert history.tolist() == [[2.0], [7.0]]
    assert items.tolist() == [[[5.0], [0.0]], [[10.0], [13.0]]]


@pytest.mark.parametrize("training", [True, False])
def test_gradients_flow_through_blocks(training: bool) -> None:
    qkv = [torch.randn(1, 2, 6, 4, requires_grad=training) for _ in range(3)]
    found, _ = block_attention(
        torch.nn.Module(), *qkv, None, blocks=Blocks.of(np.array([[3, 1, 2]]), -1.0)
    )
    assert found.requires_grad is training
    if training:
        found.sum().backward()
        assert all(torch.isfinite(x.grad).all() for x in qkv if x.grad is not None)
