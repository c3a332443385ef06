from __future__ import annotations

import numpy as np
import pytest
from bert_models import tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.queries import Queries
from fusion.ragged import Ragged
from rankers.bert_history import GAPS, PLAIN, Past, Wording, pasts, wording
from rankers.bert_text import Texts

CLS, SEP = 101, 102
ITEMS = Ragged.of([[10, 11], [], [20], [30, 31, 32]])
DAY = 86_400.0
# by code: gap * 3 + rating; gap 1 today, 2 last week, ...; rating 1 disliked, 2 liked
NOTES = Ragged.of([[] if code == 0 else [1000 + code] for code in range(18)])


def texts(words: Wording, *, history_events: int = 8, history_tokens: int = 96) -> Texts:
    return Texts(ITEMS, CLS, SEP, 0, history_events, history_tokens, wording=words)


def past(items: list[int], ratings: list[float] | None = None, days: list[float] | None = None):
    return Past(
        np.array(items, np.int32),
        None if ratings is None else np.array(ratings, np.float32),
        None if days is None else DAY * np.array(days),
    )


def test_ratings_are_liked_from_the_mean_on() -> None:
    words = Wording(False, NOTES, mean=3.0, ratings=True)
    shown = texts(words).history(past([0, 2, 3, 2], [2.9, 3.0, np.nan, 5.0]))
    assert shown == [CLS, 1001, 10, 11, 1002, 20, 30, 31, 32, 1002, 20, SEP]


def test_gaps_count_from_the_newest_event_shown() -> None:
    words = Wording(False, NOTES, gaps=True)
    # 400, 40, 8, 1 and 0.5 days before the newest one, and the newest itself
    days = [0.0, 360.0, 392.0, 399.0, 399.5, 400.0]
    assert (words.codes(past([2] * 6, None, days)) // 3).tolist() == [5, 4, 3, 2, 1, 1]
    assert [word for _, word in GAPS] == [
        "today",
        "last week",
        "last month",
        "last year",
        "long ago",
    ]
    # item 1 has no text: what is shown is all that counts
    assert texts(words).history(past([2, 2, 1], None, [0.0, 0.5, 900.0])) == [
        CLS,
        1003,
        20,
        1003,
        20,
        SEP,
    ]


def test_an_unknown_time_or_rating_gets_no_word() -> None:
    words = Wording(False, NOTES, mean=3.0, ratings=True, gaps=True)
    assert words.codes(past([0, 2], [np.nan, 4.0], [np.nan, 0.0])).tolist() == [0, 5]
    assert words.codes(past([0, 2], [4.0, np.nan], [0.0, np.nan])).tolist() == [2, 0]
    assert words.codes(past([0, 2])).tolist() == [0, 0]


def test_the_newest_first() -> None:
    first = Wording(True, Ragged.empty(1))
    assert texts(first).history(past([3, 1, 0, 2])) == [CLS, 20, 10, 11, 30, 31, 32, SEP]
    # what does not fit is the oldest all the same
    assert texts(first, history_tokens=3).history(past([3, 0, 2])) == [CLS, 20, 10, 11, SEP]
    assert texts(first, history_events=1).history(past([3, 0, 2])) == [CLS, 20, SEP]


def test_words_count_among_the_tokens_of_the_history() -> None:
    words = Wording(False, NOTES, mean=3.0, ratings=True)
    shown = texts(words, history_tokens=4).history(past([0, 2], [5.0, 5.0]))
    assert shown == [CLS, 1002, 20, SEP]  # 3 + 2 tokens are more than 4
    assert texts(words, history_tokens=2).history(past([3], [5.0])) == [CLS, 1002, 30, SEP]


@settings(max_examples=25, deadline=None)
@given(
    items=st.lists(st.integers(0, 3), max_size=6),
    room=st.integers(1, 12),
    first=st.booleans(),
    seed=st.integers(0, 99),
)
def test_as_a_loop_would_write_it(items: list[int], room: int, first: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = Wording(first, NOTES, mean=3.0, ratings=True, gaps=True)
    ratings = rng.choice([2.0, 4.0, np.nan], len(items))
    events = past(items, ratings.tolist(), np.sort(rng.uniform(0, 500, len(items))).tolist())
    kept = events.take(np.flatnonzero(np.isin(items, [0, 2, 3])))
    pieces = [
        [*NOTES[code].tolist(), *ITEMS[item].tolist()]
        for code, item in zip(words.codes(kept).tolist(), kept.items.tolist(), strict=True)
    ]
    while len(pieces) > 1 and sum(map(len, pieces)) > room:
        pieces.pop(0)
    ordered = pieces[::-1] if first else pieces
    expected = [token for piece in ordered for token in piece][:room]
    assert texts(words, history_tokens=room).shown(events).tolist() == expected


def test_the_words_of_a_tokenizer() -> None:
    words = wording(tokenizer(), order="newest_first", ratings=True, gaps=False, mean=3.5)
    assert words.newest_first
    assert words.mean == 3.5
    assert words.ratings
    assert not words.gaps
    assert words.notes.lengths.tolist()[:3] == [0, 1, 1]
    both = wording(tokenizer(), order="oldest_first", ratings=True, gaps=True, mean=3.5)
    assert both.notes.lengths.tolist()[5:9] == [2, 2, 3, 3]  # today liked, last week (dis)liked
    # data without ratings has no word for them
    unrated = wording(tokenizer(), order="oldest_first", ratings=True, gaps=False)
    assert not unrated.ratings
    assert unrated.codes(past([0], [5.0])).tolist() == [0]


def test_what_queries_know() -> None:
    queries = Queries.from_history(Ragged.of([[3, 1], [], [2]]))
    queries.ratings[:] = [1.0, 2.0, 3.0]
    queries.times[:] = [10.0, 20.0, 30.0]
    found = list(pasts(queries))
    assert [p.items.tolist() for p in found] == [[3, 1], [], [2]]
    assert [p.ratings.tolist() for p in found if p.ratings is not None] == [[1, 2], [], [3]]
    assert [p.times.tolist() for p in found if p.times is not None] == [[10, 20], [], [30]]


@pytest.mark.parametrize("items", [[], [1], [0, 3, 2]])
def test_plain_is_the_titles_alone(items: list[int]) -> None:
    shown = texts(PLAIN).shown(past(items, [5.0] * len(items), [1.0] * len(items)))
    assert shown.tolist() == [token for item in items for token in ITEMS[item].tolist()]
