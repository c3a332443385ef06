from __future__ import annotations

import numpy as np
import pytest
from bert_models import tokenizer

from fusion.errors import ConfigError
from fusion.ragged import Ragged
from rankers.bert_text import Texts, tokenize

CLS, SEP = 101, 102


def texts(*, history_events: int = 8, history_tokens: int = 96) -> Texts:
    items = Ragged.of([[10, 11], [], [20], [30, 31, 32]])
    return Texts(items, CLS, SEP, 0, history_events, history_tokens)


def history(shown: Texts, *items: int) -> list[int]:
    return shown.history(np.array(items, np.int32))


def test_a_candidate_is_opened_and_closed() -> None:
    assert texts().candidate(3) == [CLS, 30, 31, 32, SEP]


def test_a_history_is_the_texts_oldest_first_without_those_that_have_none() -> None:
    assert history(texts(), 3, 1, 0, 2) == [CLS, 30, 31, 32, 10, 11, 20, SEP]


def test_a_history_shows_the_newest_events_that_have_text() -> None:
    assert history(texts(history_events=2), 3, 0, 2, 1) == [CLS, 10, 11, 20, SEP]


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (6, [30, 31, 32, 10, 11, 20]),
        (5, [10, 11, 20]),  # 3 + 3 > 5: the oldest is left out whole
        (2, [20]),
    ],
)
def test_a_history_leaves_out_its_oldest_events_until_it_fits(room: int, shown: list[int]) -> None:
    assert history(texts(history_tokens=room), 3, 0, 2) == [CLS, *shown, SEP]


def test_the_newest_event_stays_even_if_it_must_be_cut() -> None:
    assert history(texts(history_tokens=2), 0, 3) == [CLS, 30, 31, SEP]


def test_a_history_without_text_is_empty() -> None:
    assert history(texts(), 1, 1) == []
    assert history(texts()) == []


def test_tokenize_cuts_texts_and_knows_which_items_have_any() -> None:
    words = tokenizer()
    made = tokenize(
        words,
        ["The crime story 7. Crime", "", "  ", "War"],
        item_tokens=4,
        history_events=3,
        history_tokens=9,
    )
    spelt = [words.convert_ids_to_tokens(row.tolist()) for row in made.items]
    assert spelt == [["the", "crime", "story", "7"], [], [], ["war"]]
    assert made.known.tolist() == [True, False, False, True]
    assert [made.pad, made.start, made.end] == [0, 2, 3]  # [PAD], [CLS], [SEP]


def test_a_tokenizer_without_opening_and_closing_tokens_is_refused() -> None:
    words = tokenizer()
    words.cls_token = words.sep_token = None
    with pytest.raises(ConfigError, match="CLS"):
        tokenize(words, ["war"], item_tokens=4, history_events=1, history_tokens=4)
