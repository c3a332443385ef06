"""Attention over trees of candidates, put under transformers' models through their own interface.

Under a dense mask a pass over ``T`` tokens multiplies ``T * T`` pairs, most of them masked. Here a
block's history looks at itself, causally, and the tree's nodes are taken in windows of neighbours
(in preorder): all that a node sees outside of its window is the history and the ancestors of the
window's first node, since an ancestor that stands before the window is one of that node's too. So
``N`` nodes cost ``N * (H + A + W)`` pairs, with ``H`` tokens of history, ``A`` the tree's depth at
most and ``W`` the window. The history's part is one product for all windows and needs no mask.

On a GPU few large kernels beat many small ones: there each block is one masked
`scaled_dot_product_attention`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rankers.gpt_tree import Block, Layout, Tree

if TYPE_CHECKING:
    import torch

__all__ = ["NAME", "Plan", "UnsupportedError", "dense_mask", "tree_attention"]

#: under this name transformers finds `_attend`
NAME = "recfusion_tree"
#: nodes of a window; 16 to 64 were equally fast for 550 nodes after 222 tokens of history
_WINDOW = 32
#: additive mask of what is not seen; finite, so that a row of nothing else is no NaN
_HIDDEN = -1e9
#: what other attention functions are told and this one cannot do
_FOREIGN = ("softcap", "position_bias", "s_aux")

_plan: ContextVar[Plan | None] = ContextVar("recfusion_gpt_plan", default=None)


class UnsupportedError(Exception):
    """The model asks of its attention what trees have not; the dense mask has to serve."""


@dataclass
class _Windows:
    """One block's nodes in ``C`` windows of ``W``, on the device.

    Attributes:
        rows: (C * W,) places of the queries; the last is repeated to fill the last window.
        keys: (C * (A + W),) places of the keys: ancestors, then the window's own.
        mask: (C, 1, W, A + W) additive.
        shape: C, W and A + W.
    """

    rows: torch.Tensor
    keys: torch.Tensor
    mask: torch.Tensor
    shape: tuple[int, int, int]


def _windows(block: Block) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Any]:
    """Queries (C, W), keys (C, A + W) as places of the pass, and who sees whom (C, W, A + W)."""
    tree: Tree = block.tree
    n = len(tree)
    count = -(-n // _WINDOW)
    width = -(-n // count)
    rows = np.minimum(np.arange(count * width), n - 1).reshape(count, width)
    above, at = [], tree.parent[rows[:, 0]]
    while (at >= 0).any():
        above.append(at)
        at = np.where(at >= 0, tree.parent[at], -1)
    own = np.arange(count * width).reshape(count, width)
    own = np.where(own < n, own, -1)  # what fills the last window is no key
    keys = np.column_stack([*above, own]) if above else own  # (C, A + W)
    query, key = rows[:, :, None], keys[:, None, :]
    seen = (key >= 0) & (key <= query) & (query < tree.end[key])
    return rows + block.first, np.maximum(keys, 0) + block.first, seen


@dataclass
class Plan:
    """How one pass looks at its tokens; made once, used by every layer.

    Attributes:
        layout: the tokens.
        past: a block's keys and values (2, heads, at least ``known``, D) of every layer; ``None``
            where nothing is known of it.
        keep: which blocks' histories are kept, see `kept`.
        kept: block -> one tensor (2, heads, stem, D) a layer, filled by the pass.
        layers: how many layers have used it.
    """

    layout: Layout
    device: Any
    dtype: Any
    past: Sequence[Sequence[torch.Tensor] | None]
    keep: Sequence[bool]
    kept: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    layers: int = 0
    _windows: dict[int, _Windows] = field(default_factory=dict)
    _masks: dict[int, torch.Tensor] = field(default_factory=dict)
    _space: dict[tuple[int, ...], torch.Tensor] = field(default_factory=dict)
    pairs: int = 0

    def __post_init__(self) -> None:
        """Put windows and masks on the device; count the pairs that one layer multiplies."""
        import torch

        for b, block in enumerate(self.layout.blocks):
            if self.device.type != "cpu":
                self._masks[b] = self._mask(block)
                self.pairs += self._masks[b].numel()
                continue
            self.pairs += block.fresh * block.stem
            if len(block.tree):
                rows, keys, seen = _windows(block)
                mask = torch.where(torch.from_numpy(seen), 0.0, _HIDDEN).to(self.dtype)
                self._windows[b] = _Windows(
                    torch.from_numpy(rows.ravel()),
                    torch.from_numpy(keys.ravel()),
                    mask[:, None],
                    seen.shape,
                )
                self.pairs += rows.size * (block.stem + keys.shape[1])

    def _mask(self, block: Block) -> torch.Tensor:
        """(Q, known + Q) bool of one block's own tokens, made on the device."""
        import torch

        end = torch.from_numpy(self.layout.end[block.start : block.stop] - block.start)
        end = end.to(self.device, non_blocking=True)
        at = torch.arange(len(end), device=self.device)
        own = (at <= at[:, None]) & (at[:, None] < end)
        return torch.nn.functional.pad(own, (block.known, 0), value=True)

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """(N, heads, D) from ``query`` (heads, N, D), ``key`` and ``value`` (fewer heads, N, D)."""
        import torch

        out = query.new_empty(query.shape[1], query.shape[0], value.shape[2])
        for b, block in enumerate(self.layout.blocks):
            stem = self._stem(b, block, key, value)
            if b in self._masks:
                self._whole(b, block, query, key, value, stem, scale, out)
                continue
            if block.fresh:
                here = slice(block.start, block.first)
                causal = None
                if block.known:
                    causal = torch.ones(block.fresh, block.stem, dtype=torch.bool)
                    causal = causal.tril(block.known)
                out[here] = torch.nn.functional.scaled_dot_product_attention(
                    query[None, :, here],
                    stem[0][None],
                    stem[1][None],
                    attn_mask=causal,
                    is_causal=causal is None,
                    scale=scale,
                    enable_gqa=len(query) != len(key),
                )[0].transpose(0, 1)
            if b in self._windows:
                found = self._nodes(self._windows[b], query, key, value, stem, scale)
                out[block.first : block.stop] = found[: len(block.tree)]
        self.layers += 1
        return out

    def _stem(
        self, b: int, block: Block, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (heads, stem, D) of a block's whole history; kept where asked."""
        past, here = self.past[b], slice(block.start, block.first)
        if past is not None and not block.fresh:
            return past[self.layers][0, :, : block.known], past[self.layers][1, :, : block.known]
        if past is None and not self.keep[b]:
            return key[:, here], value[:, here]
        both = key.new_empty(2, key.shape[0], block.stem, key.shape[2])
        if past is not None:
            both[:, :, : block.known] = past[self.layers][:, :, : block.known]
        both[0, :, block.known :], both[1, :, block.known :] = key[:, here], value[:, here]
        if self.keep[b]:
            self.kept.setdefault(b, []).append(both)
        return both[0], both[1]

    def _whole(
        self,
        b: int,
        block: Block,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        stem: tuple[torch.Tensor, torch.Tensor],
        scale: float,
        out: torch.Tensor,
    ) -> None:
        """One block in one masked attention, for a GPU."""
        import torch

        here, nodes = slice(block.start, block.stop), slice(block.first, block.stop)
        group = len(query) // len(key)  # with a mask, CUDA's fast kernels know no shared heads
        keys = torch.cat([stem[0], key[:, nodes]], 1).repeat_interleave(group, 0)
        values = torch.cat([stem[1], value[:, nodes]], 1).repeat_interleave(group, 0)
        out[here] = torch.nn.functional.scaled_dot_product_attention(
            query[None, :, here], keys[None], values[None], attn_mask=self._masks[b], scale=scale
        )[0].transpose(0, 1)

    def _nodes(
        self,
        windows: _Windows,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        stem: tuple[torch.Tensor, torch.Tensor],
        scale: float,
    ) -> torch.Tensor:
        """(C * W, heads, D): what the nodes of one block see; large products, in few steps.

        The large buffers are used again by every layer: fresh pages cost more than the products.
        """
        import torch

        heads, size = len(key), query.shape[2]
        group, length = len(query) // heads, stem[0].shape[1]
        count, width, reach = windows.shape
        rows = group * count * width
        asked = query.index_select(1, windows.rows).mul_(scale)
        asked = (
            asked.view(heads, group, count, width, size).transpose(1, 2).reshape(heads, -1, size)
        )
        keys = key.index_select(1, windows.keys).view(heads * count, reach, size)
        values = value.index_select(1, windows.keys).view(heads * count, reach, value.shape[2])
        far = self._buffer(query, heads, rows, length)
        torch.bmm(asked, stem[0].transpose(1, 2), out=far)
        near = torch.bmm(asked.view(heads * count, -1, size), keys.transpose(1, 2))
        near.view(heads, count, group, width, reach).add_(windows.mask)
        logits = self._buffer(query, heads, rows, length + reach)
        torch.cat([far, near.view(heads, rows, reach)], 2, out=logits)
        weights = self._buffer(query, 1, heads, rows, length + reach)[0]
        torch.softmax(logits, 2, out=weights)
        own = weights[:, :, length:].reshape(heads * count, -1, reach)
        seen = torch.bmm(weights[:, :, :length], stem[1])
        seen.view(heads * count, -1, value.shape[2]).baddbmm_(own, values)
        seen = seen.view(heads, count, group, width, -1).permute(1, 3, 0, 2, 4)
        return seen.reshape(count * width, len(query), -1)

    def _buffer(self, like: torch.Tensor, *shape: int) -> torch.Tensor:
        if shape not in self._space:
            self._space[shape] = like.new_empty(shape)
        return self._space[shape]


def dense_mask(layout: Layout, device: Any, dtype: Any) -> torch.Tensor:
    """(1, 1, N, N) additive mask of the same pass, for models that take no attention function."""
    import torch

    end = torch.from_numpy(layout.end).to(device, non_blocking=True)
    at = torch.arange(len(end), device=device)
    seen = (at <= at[:, None]) & (at[:, None] < end)
    mask = torch.zeros(seen.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[None, None]


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' attention functions: (1, heads, N, D) to (1, N, heads, D)."""
    plan = _plan.get()
    foreign = [name for name in _FOREIGN if kwargs.get(name) is not None]
    fits = len(query) == 1 and query.shape[2] == key.shape[2] and key.shape == value.shape
    if plan is None or foreign or not fits:
        raise UnsupportedError(f"{type(module).__name__}: {foreign}")
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    return plan.attend(query[0], key[0], value[0], scale)[None], None


@contextmanager
def tree_attention(model: Any, plan: Plan) -> Iterator[None]:
    """Inside, ``model`` attends by ``plan``; afterwards as before."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)
    before, token = model.config._attn_implementation, _plan.set(plan)
    model.config._attn_implementation = NAME
    try:
        yield
    finally:
        model.config._attn_implementation = before
        _plan.reset(token)
