from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankers.gpt_tree import cut, grow, lay_out

words = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=12)


def arrays(candidates) -> list[np.ndarray]:
    return [np.array(one, np.int64) for one in candidates]


def test_a_tree_written_out() -> None:
    tree = grow(arrays([[7, 1, 2], [7, 1], [3], [7, 4], [7, 1, 2]]))
    #  0: 3
    #  1: 7 -> 2: 1 -> 3: 2
    #       -> 4: 4
    assert tree.tokens.tolist() == [3, 7, 1, 2, 4]
    assert tree.depth.tolist() == [0, 0, 1, 2, 1]
    assert tree.parent.tolist() == [-1, -1, 1, 2, 1]
    assert tree.end.tolist() == [1, 5, 4, 4, 5]
    assert tree.paths.tolist() == [[1, 2, 3], [1, 2, -1], [0, -1, -1], [1, 4, -1], [1, 2, 3]]
    bare = tree.pruned()  # only 7 and 7 1 have something below
    assert bare.tokens.tolist() == [7, 1]
    assert bare.parent.tolist() == [-1, 0]
    assert bare.end.tolist() == [2, 2]
    assert bare.paths[0].tolist() == [0, 1, -1]


def test_without_sharing_every_candidate_has_its_own_nodes() -> None:
    tree = grow(arrays([[7, 1], [7, 1], [2]]), share=False)
    assert tree.tokens.tolist() == [7, 1, 7, 1, 2]
    assert tree.end.tolist() == [2, 2, 4, 4, 5]
    assert tree.paths.tolist() == [[0, 1], [2, 3], [4, -1]]


@settings(deadline=None, max_examples=25)
@given(words, st.booleans())
def test_a_tree_is_the_set_of_prefixes(candidates: list, share: bool) -> None:
    tree = grow(arrays(candidates), share=share)
    prefixes = [tuple(c[: i + 1]) for c in candidates for i in range(len(c))]
    assert len(tree) == (len(set(prefixes)) if share else len(prefixes))
    n = np.arange(len(tree))
    for candidate, row in zip(candidates, tree.paths, strict=True):
        path = row[row >= 0]
        assert tree.tokens[path].tolist() == candidate
        assert tree.depth[path].tolist() == list(range(len(candidate)))
        assert tree.parent[path].tolist() == [-1, *path[:-1].tolist()]
        # what the last token sees is its own path, nothing else
        seen = np.flatnonzero((n <= path[-1]) & (path[-1] < tree.end))
        assert seen.tolist() == path.tolist()


@settings(deadline=None, max_examples=25)
@given(words)
def test_pruned_is_the_set_of_proper_prefixes(candidates: list) -> None:
    bare = grow(arrays(candidates)).pruned()
    proper = {tuple(c[: i + 1]) for c in candidates for i in range(len(c) - 1)}
    assert len(bare) == len(proper)
    n = np.arange(len(bare))
    for candidate, row in zip(candidates, bare.paths, strict=True):
        path = row[: len(candidate) - 1]
        assert bare.tokens[path].tolist() == candidate[:-1]
        if len(path):
            seen = np.flatnonzero((n <= path[-1]) & (path[-1] < bare.end))
            assert seen.tolist() == path.tolist()


@settings(deadline=None, max_examples=25)
@given(words, st.integers(1, 30), st.booleans())
def test_cut_covers_every_candidate_once(candidates: list, room: int, share: bool) -> None:
    groups = cut(arrays(candidates), room, share=share)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(candidates)))
    for group in groups:
        assert len(group) == 1 or len(grow(arrays(candidates[i] for i in group), share=share)) <= (
            room
        )


def test_no_candidates_are_no_groups() -> None:
    assert cut([], 5) == []
    assert len(grow([])) == 0


@pytest.mark.parametrize("known", [[0, 0], [2, 1], [3, 2]])
def test_blocks_stand_one_after_the_other(known: list[int]) -> None:
    trees = [grow(arrays([[5, 6], [5, 7]])), grow(arrays([[4]]))]
    layout = lay_out(arrays([[1, 2, 3], [8, 9]]), trees, known)
    a, b = known
    assert layout.tokens.tolist() == [*[1, 2, 3][a:], 5, 6, 7, *[8, 9][b:], 4]
    assert layout.positions.tolist() == [*range(a, 3), 3, 4, 4, *range(b, 2), 2]
    one, two = layout.blocks
    assert (one.start, one.first, one.stop, one.stem) == (0, 3 - a, 6 - a, 3)
    assert (two.start, two.stop, two.stem) == (one.stop, len(layout.tokens), 2)
    n = np.arange(len(layout.tokens))
    seen = (n <= n[:, None]) & (n[:, None] < layout.end)  # (query, key)
    assert not seen[two.start :, : one.stop].any()  # nobody sees another user
    assert seen[one.first : one.stop, : one.first].all()  # candidates see their history
