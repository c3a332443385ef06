"""Counting is exact, nests, and costs nothing where nobody listens."""

from __future__ import annotations

import threading

from fusion.work import Work, attention_flops, count, counting, linear_flops, timed


def test_amounts_add_up_by_name() -> None:
    with counting() as work:
        count(tokens=3, flops=10.0)
        count(tokens=4)
    assert work.counts == {"tokens": 7, "flops": 10.0}


def test_nobody_listens() -> None:
    count(tokens=1)
    with timed("encode"):
        pass
    with counting() as work:
        pass
    assert work == Work()


def test_an_outer_count_holds_the_inner_one() -> None:
    with counting() as outer:
        count(tokens=1)
        with counting() as inner:
            count(tokens=10)
        count(tokens=100)
    assert inner.counts == {"tokens": 10}
    assert outer.counts == {"tokens": 111}


def test_the_outer_count_is_whole_after_an_error() -> None:
    with counting() as outer:
        try:
            with counting():
                count(tokens=2)
                raise ValueError
        except ValueError:
            count(tokens=1)
    assert outer.counts == {"tokens": 3}


def test_another_thread_is_another_listener() -> None:
    with counting() as work:
        thread = threading.Thread(target=lambda: count(tokens=5))
        thread.start()
        thread.join()
    assert work.counts == {}


def test_seconds_go_to_their_stage() -> None:
    with counting() as work:
        with timed("encode"), timed("search"):
            pass
        with timed("encode"):
            pass
    assert set(work.seconds) == {"encode", "search"}
    assert work.seconds["encode"] > work.seconds["search"] > 0
    assert set(work.to_json()) == {"encode_ms", "search_ms"}


def test_operations_of_a_layer_by_hand() -> None:
    # (2, 3) @ (3, 5): 2 * 5 results of 3 multiplications and 3 additions
    assert linear_flops(rows=2, weights=3 * 5) == 2 * 5 * (3 + 3)
    # one query token, 4 keys, one head of 8: 4 products of length 8, and 8 sums of 4 values
    assert attention_flops(pairs=4, width=8, layers=1) == 4 * (8 + 8) + 8 * (4 + 4)
