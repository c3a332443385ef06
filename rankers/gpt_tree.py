"""Candidates of one user as a prefix tree, and several users' trees as one flat row of tokens.

Two titles that begin alike ("The Lord of ...") have the same hidden states as far as they agree, so
a token is computed once for every distinct prefix. The tree's nodes stand in preorder: the
subtree of node ``i`` is the run ``i:end[i]``, so token ``i`` is seen by token ``j`` exactly where
``i <= j < end[i]``, and one integer a token says the whole mask. A history is the stem that all
of its user's candidates grow from: its tokens' ``end`` is the end of the user's block. Blocks of
several users stand one after the other without padding; no interval crosses from one to the next.

The attention pattern is that of tree decoding in Miao et al., "SpecInfer: Accelerating Large
Language Model Serving with Tree-based Speculative Inference and Verification", ASPLOS 2024,
section 4.2, https://arxiv.org/abs/2305.09781; there the branches are drafts of a continuation,
here they are items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Block", "Layout", "Tree", "cut", "grow", "lay_out", "sorted_by_tokens"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tree:
    """The distinct prefixes of ``C`` candidates, in preorder.

    Attributes:
        tokens: (N,) int64 token ids.
        depth: (N,) int64, from 0: how many tokens of the candidate stand before.
        parent: (N,) int64: the node before it; -1 where a candidate begins.
        end: (N,) int64: one past the last node of its subtree.
        paths: (C, L) int64: the nodes of every candidate's tokens; -1 past its end.
    """

    tokens: Ints
    depth: Ints
    parent: Ints
    end: Ints
    paths: Ints

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def inner(self) -> Bools:
        """(N,) bool: which nodes have another one below; the others are read by nobody."""
        return self.end > np.arange(1, len(self) + 1)

    def pruned(self) -> Tree:
        """Without its leaves: what must be computed where each last token is only predicted."""
        keep = self.inner
        before = np.concatenate([[0], np.cumsum(keep)])  # (N + 1,): kept nodes before each
        paths = np.where((self.paths >= 0) & keep[self.paths], before[self.paths], -1)
        parent = self.parent[keep]
        parent = np.where(parent < 0, -1, before[parent])
        return Tree(self.tokens[keep], self.depth[keep], parent, before[self.end[keep]], paths)


def _sorted(candidates: Sequence[Ints], share: bool) -> tuple[Ints, Ints, Ints, Ints]:
    """Order, lengths (C,), tokens (C, L), and what each shares with the one before it (C,)."""
    lengths = np.fromiter(map(len, candidates), np.int64, len(candidates))
    matrix = np.full((len(lengths), int(lengths.max(initial=1))), -1, np.int64)
    column = np.arange(matrix.shape[1])
    if len(lengths):
        matrix[column < lengths[:, None]] = np.concatenate(candidates)
    if not share:
        return np.arange(len(lengths)), lengths, matrix, np.zeros(len(lengths), np.int64)
    order = np.lexsort(matrix.T[::-1])
    matrix, lengths = matrix[order], lengths[order]
    common = np.zeros(len(lengths), np.int64)
    same = (matrix[1:] == matrix[:-1]) & (matrix[1:] >= 0)
    common[1:] = np.logical_and.accumulate(same, axis=1).sum(1)
    return order, lengths, matrix, common


def sorted_by_tokens(candidates: Sequence[Ints]) -> Ints:
    """(C,) the numbers of ``candidates`` so that those with a common prefix are neighbours.

    >>> sorted_by_tokens([np.array([7, 1]), np.array([5]), np.array([7])]).tolist()
    [1, 2, 0]
    """
    return _sorted(candidates, share=True)[0]


def grow(candidates: Sequence[Ints], *, share: bool = True) -> Tree:
    """The prefix tree of ``candidates`` (arrays of token ids).

    Args:
        candidates: none empty; the same one may come twice.
        share: whether equal prefixes are one; false gives every candidate nodes of its own.

    >>> tree = grow([np.array([5, 6, 7]), np.array([5, 6, 8]), np.array([4])])
    >>> tree.tokens.tolist(), tree.depth.tolist(), tree.end.tolist()
    ([4, 5, 6, 7, 8], [0, 0, 1, 2, 2], [1, 5, 5, 4, 5])
    >>> tree.paths.tolist()
    [[1, 2, 3], [1, 2, 4], [0, -1, -1]]
    """
    order, lengths, matrix, common = _sorted(candidates, share)
    rows, column = np.arange(len(lengths)), np.arange(matrix.shape[1])
    filled = column < lengths[:, None]
    new = filled & (column >= common[:, None])  # (C, L): where a node is seen for the first time
    number = np.cumsum(new).reshape(new.shape) - 1
    node = np.maximum.accumulate(np.where(new, number, -1), axis=0)
    node[~filled] = -1
    row, depth = np.nonzero(new)  # row by row: preorder
    # A subtree ends where the first later row begins that leaves the node's prefix.
    leaves = column >= common[:, None]
    first = np.full((len(lengths) + 1, len(column)), len(lengths), np.int64)
    first[:-1] = np.where(leaves, rows[:, None], len(lengths))
    following = np.minimum.accumulate(first[::-1], axis=0)[::-1]
    before = np.concatenate([[0], np.cumsum(new.sum(1))])  # (C + 1,): nodes of the rows above
    parent = np.where(depth > 0, node[row, np.maximum(depth - 1, 0)], -1)
    paths = np.empty_like(node)
    paths[order] = node
    return Tree(matrix[new], depth, parent, before[following[row + 1, depth]], paths)


def cut(candidates: Sequence[Ints], room: int, *, share: bool = True) -> list[Ints]:
    """Groups of candidates whose trees have at most ``room`` nodes; one alone may have more.

    Returns:
        The numbers of each group's candidates, neighbours in the order of their tokens.

    >>> [g.tolist() for g in cut([np.array([7, 1]), np.array([5]), np.array([7, 2])], 3)]
    [[1, 0], [2]]
    """
    order, lengths, _, common = _sorted(candidates, share)
    added = lengths - common
    if int(added.sum()) <= room:
        return [order] if len(order) else []
    groups, start, size = [], 0, 0
    for row, (length, more) in enumerate(zip(lengths.tolist(), added.tolist(), strict=True)):
        if row > start and size + more > room:
            groups.append(order[start:row])
            start, size = row, 0
        size += length if row == start else more
    return [*groups, order[start:]]


@dataclass(frozen=True, slots=True)
class Block:
    """One user's part of a pass.

    Attributes:
        start: the place of its first token.
        known: how many tokens of the history were computed by an earlier pass.
        fresh: how many are computed in this one; they stand before the tree.
        tree: the candidates.
    """

    start: int
    known: int
    fresh: int
    tree: Tree

    @property
    def stem(self) -> int:
        """Tokens of the history."""
        return self.known + self.fresh

    @property
    def first(self) -> int:
        """The place of the tree's first node."""
        return self.start + self.fresh

    @property
    def stop(self) -> int:
        """One past the place of its last token."""
        return self.first + len(self.tree)


@dataclass(frozen=True, slots=True)
class Layout:
    """What one pass reads: ``N`` tokens of several users.

    Attributes:
        tokens: (N,) int64 token ids.
        positions: (N,) int64: a node's is its depth after its history.
        end: (N,) int64: token ``i`` is seen by ``j`` where ``i <= j < end[i]``.
        blocks: one a user.
    """

    tokens: Ints
    positions: Ints
    end: Ints
    blocks: tuple[Block, ...]


def lay_out(
    histories: Sequence[Ints], trees: Sequence[Tree], known: Sequence[int] | None = None
) -> Layout:
    """One pass over ``histories`` (token ids, not empty), each with its tree.

    Args:
        histories: the whole of them, also the tokens that are not computed again.
        trees: one a history.
        known: how many of its first tokens need no computing; by default none.

    >>> layout = lay_out([np.array([8, 9])], [grow([np.array([5, 6]), np.array([5, 7])])])
    >>> layout.tokens.tolist(), layout.positions.tolist(), layout.end.tolist()
    ([8, 9, 5, 6, 7], [0, 1, 2, 3, 3], [5, 5, 5, 4, 5])
    """
    tokens, positions, ends, blocks, at = [], [], [], [], 0
    for history, tree, skip in zip(histories, trees, known or [0] * len(trees), strict=True):
        block = Block(at, skip, len(history) - skip, tree)
        tokens += [history[skip:], tree.tokens]
        positions += [np.arange(skip, len(history)), tree.depth + len(history)]
        ends += [np.full(block.fresh, block.stop), tree.end + block.first]
        blocks.append(block)
        at = block.stop
    empty = [np.empty(0, np.int64)]
    return Layout(
        np.concatenate(tokens or empty),
        np.concatenate(positions or empty),
        np.concatenate(ends or empty),
        tuple(blocks),
    )
