from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankers.gpt_cache import Entry, HistoryCache

SIZE = 8 + 2 * 2 * 3 * 4  # a token: its id, and keys and values of two heads of three numbers


def entry(tokens) -> Entry:
    n = len(tokens)
    return Entry(np.asarray(tokens, np.int64), [torch.zeros(2, 2, n, 3)], torch.zeros(5))


def test_bytes_written_out() -> None:
    assert entry(range(20)).token_bytes == 48
    assert entry(range(20)).bytes == 20 * SIZE + 5 * 4


def test_the_longest_common_run_is_found() -> None:
    cache = HistoryCache(10**6)
    one, two = entry(range(40)), entry([*range(20), *range(90, 110)])
    cache.put(one)
    cache.put(two)
    assert cache.find(one.tokens) == (one, 40)
    assert cache.find(np.arange(50)) == (one, 40)
    assert cache.find(np.array([*range(20), 90, 91, 7])) == (two, 22)
    # a beginning of a kept one: its last state is not kept, so its last token is computed again
    assert cache.find(np.arange(30)) == (one, 29)
    assert cache.find(np.array([*range(10), 99, 98])) == (None, 0)  # not worth it
    assert cache.find(np.arange(1, 30)) == (None, 0)


def test_a_history_that_goes_on_takes_the_place_of_its_beginning() -> None:
    cache = HistoryCache(10**6)
    for length in (20, 21, 22):
        cache.put(entry(range(length)))
    assert len(cache) == 1
    assert cache.bytes == entry(range(22)).bytes
    cache.put(entry(range(20)))  # a shorter one is another user's
    assert len(cache) == 2


def test_the_least_recently_used_goes_first() -> None:
    cache = HistoryCache(2 * entry(range(20)).bytes)
    rows = [np.arange(20) + 100 * i for i in range(3)]
    cache.put(entry(rows[0]))
    cache.put(entry(rows[1]))
    cache.find(rows[0])
    cache.put(entry(rows[2]))
    assert [cache.find(row)[1] for row in rows] == [20, 0, 20]
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


def test_what_is_too_large_or_too_short_is_not_kept() -> None:
    cache = HistoryCache(entry(range(20)).bytes)
    cache.put(entry(range(21)))
    cache.put(entry(range(15)))
    assert len(cache) == 0
    assert not HistoryCache(0).on


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(16, 40)), max_size=12))
def test_the_bytes_are_those_of_what_is_there(rows: list[tuple[int, int]]) -> None:
    cache = HistoryCache(5000)
    for kind, length in rows:
        cache.put(entry(np.arange(length) + 50 * kind))
        assert cache.bytes == sum(e.bytes for e in cache._entries.values()) <= 5000
