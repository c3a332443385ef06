"""Scores of many candidates in one pass, read from the logits of a causal LM.

A user's history is read once and the candidates grow from its end as one prefix tree
(`rankers.gpt_tree`); a candidate's last token is predicted, never read, so the tree's leaves cost
nothing but their row of the head. Several users share a pass up to a budget of tokens, without
padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fusion.work import timed
from rankers.gpt_reader import Branches, Reader
from rankers.gpt_tree import Tree, cut, grow
from rankers.packing import Packed

__all__ = ["Unit", "last_places", "likelihoods", "plan", "yes_no"]

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Unit:
    """A user's part of a pass.

    Attributes:
        query: whose.
        which: (C,) int64: which of the query's candidates.
        tree: those candidates.
        branches: what is read of them.
    """

    query: int
    which: Tokens
    tree: Tree
    branches: Branches


def plan(
    reader: Reader,
    histories: Sequence[Tokens],
    candidates: Sequence[Sequence[Tokens]],
    *,
    longest: int,
    budget: int,
    leaves: bool,
    share: bool = True,
) -> Iterator[list[Unit]]:
    """Which candidates are read in which pass, in the order of the queries.

    What is known of a history is asked as late as possible, so that the second part of a query
    that had to be cut finds what the first one kept.

    Args:
        reader: knows what is kept.
        histories: Q arrays of token ids, none empty.
        candidates: Q lists of arrays of token ids, none empty.
        longest: tokens of one query in a pass before its candidates are cut into several; a
            single candidate may exceed it.
        budget: tokens of a pass; a single query may exceed it.
        leaves: whether a candidate's last token is read, too.
        share: see `grow`.
    """
    room = reader.budget(budget)
    units: list[Unit] = []
    size = 0
    for query, (history, items) in enumerate(zip(histories, candidates, strict=True)):
        with timed("prepare"):
            left = max(1, min(longest, room) - len(history))
            groups = cut(items, left, share=share)
        for which in groups:
            with timed("prepare"):
                tree = grow([items[i] for i in which.tolist()], share=share)
                read = tree if leaves else tree.pruned()
                unit = Unit(query, which, tree, Branches(history, read, *reader.know(history)))
            again = reader.cache.on and bool(units) and units[-1].query == query
            if units and (again or size + unit.branches.size > room):
                yield units
                units, size = [], 0
                known = Branches(history, read, *reader.know(history))
                unit = replace(unit, branches=known)
            units.append(unit)
            size += unit.branches.size
    if units:
        yield units


def likelihoods(
    reader: Reader,
    histories: Sequence[Tokens],
    candidates: Sequence[Sequence[Tokens]],
    *,
    longest: int,
    budget: int,
    share: bool = True,
) -> list[Floats]:
    """Mean log-likelihood a token of every candidate after its history.

    Args:
        reader: the model.
        histories: Q arrays of token ids, none empty.
        candidates: Q lists of arrays of token ids, none empty.
        longest: see `plan`.
        budget: see `plan`.
        share: see `grow`.

    Returns:
        Q arrays (C,) float32, natural logarithm, never above 0.
    """
    out = [np.empty(len(items), np.float32) for items in candidates]
    for units in plan(
        reader, histories, candidates, longest=longest, budget=budget, leaves=False, share=share
    ):
        with timed("prepare"):
            places, targets, base = [], [], 0
            for unit in units:
                number = np.cumsum(unit.tree.inner)  # an inner node's place: 1 + those before it
                parent = unit.tree.parent
                places.append(base + np.where(parent < 0, 0, number[parent]))
                targets.append(unit.tree.tokens)
                base += 1 + len(unit.branches.tree)
        values = reader.log_likelihood(
            [unit.branches for unit in units], np.concatenate(places), np.concatenate(targets)
        )
        at = 0
        for unit in units:
            node = values[at : at + len(unit.tree)].astype(np.float64)
            at += len(unit.tree)
            path = unit.tree.paths
            total = np.where(path >= 0, node[path], 0.0).sum(1)
            out[unit.query][unit.which] = total / (path >= 0).sum(1)
    return out


def yes_no(
    reader: Reader,
    histories: Sequence[Tokens],
    questions: Sequence[Sequence[Tokens]],
    answers: tuple[int, int],
    *,
    longest: int,
    budget: int,
    share: bool = True,
) -> list[Floats]:
    """Logit of yes less logit of no after each question; arguments as in `likelihoods`."""
    out = [np.empty(len(items), np.float32) for items in questions]
    for units in plan(
        reader, histories, questions, longest=longest, budget=budget, leaves=True, share=share
    ):
        places, base = [], 0
        for unit in units:
            places.append(base + 1 + unit.tree.paths.max(1))  # preorder: the last node is highest
            base += 1 + len(unit.tree)
        values = reader.difference(
            [unit.branches for unit in units], np.concatenate(places), *answers
        )
        for unit, own in zip(
            units, np.split(values, np.cumsum([len(u.which) for u in units])[:-1]), strict=True
        ):
            out[unit.query][unit.which] = own
    return out


def last_places(packed: Packed) -> Tokens:
    """(C,) int64: the place of each candidate's last token in the flattened batch, in order."""
    segments = packed.segments
    follows = np.full_like(segments, -1)
    follows[:, :-1] = segments[:, 1:]
    return np.flatnonzero((segments > 0) & (segments != follows)).astype(np.int64)
