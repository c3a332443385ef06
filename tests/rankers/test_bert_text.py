from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bert_models import tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import ConfigError
from fusion.ragged import Ragged
from rankers.bert_text import Texts, load_tokens, save_tokens, tokenize, tokens_key

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


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=6), st.integers(1, 4), st.integers(1, 9))
def test_a_history_equals_one_that_is_made_event_by_event(
    events: list[int], most: int, room: int
) -> None:
    shown = texts(history_events=most, history_tokens=room)
    expected: list[int] = []
    for item in [e for e in events if shown.known[e]][::-1][:most]:
        tokens = shown.items[item].tolist()
        if expected and len(expected) + len(tokens) > room:
            break
        expected = tokens[:room] + expected
    assert history(shown, *events) == ([CLS, *expected, SEP] if expected else [])


def test_candidates_are_framed_once() -> None:
    assert [row.tolist() for row in texts().candidates] == [
        [CLS, 10, 11, SEP],
        [],
        [CLS, 20, SEP],
        [CLS, 30, 31, 32, SEP],
    ]


def test_stored_tokens_are_those_of_the_same_texts_and_settings(tmp_path: Path) -> None:
    words, path = tokenizer(), tmp_path / "tokens.safetensors"
    key = tokens_key(words, ["war", "crime"], 4)
    assert load_tokens(path, key) is None
    save_tokens(path, texts(), key)
    stored = load_tokens(path, key)
    assert stored is not None
    assert [row.tolist() for row in stored] == [row.tolist() for row in texts().items]
    words(["war"], truncation=True, max_length=1)  # what it was last asked for changes nothing
    assert tokens_key(words, ["war", "crime"], 4) == key
    other = tokenizer()
    other.add_tokens(["robot"])
    for changed in (
        tokens_key(words, ["war", "crime "], 4),
        tokens_key(words, ["warcrime", ""], 4),
        tokens_key(words, ["war", "crime"], 5),
        tokens_key(other, ["war", "crime"], 4),
    ):
        assert load_tokens(path, changed) is None


def test_tokenizing_leaves_no_limit_in_the_tokenizer() -> None:
    words = tokenizer()
    tokenize(words, ["war 1 2 3"], item_tokens=2, history_events=1, history_tokens=4)
    assert words.backend_tokenizer.truncation is None
