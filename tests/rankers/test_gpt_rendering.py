from __future__ import annotations

import numpy as np
import pytest
from gpt_models import tokenizer
from pydantic import ValidationError

from fusion.data.dataset import Catalog
from fusion.data.vocabulary import Vocabulary
from rankers.gpt_prompt import Prompts, PromptSettings
from rankers.gpt_rendering import Events, gap_words, rating_words

DAY = 86_400.0
IDS = ("a", "b", "c")
CATALOG = Catalog(Vocabulary("item", IDS), texts=("Heat", "", "Up"), titles=("Heat", "b", "Up"))
EVENTS = Events(
    np.array([0, 1, 2, 0]),
    np.array([4.0, 1.0, np.nan, 3.5]),
    np.array([0.0, 1.0, 3.0, 3.2]) * DAY,
)


def told(**changes) -> str:
    prompts = Prompts.of(CATALOG, "title", PromptSettings(header="", **changes), tokenizer())
    return tokenizer().decode(prompts.told(EVENTS).tolist())


def test_a_history_written_out() -> None:
    assert told() == "Heat\nUp\nHeat\n"
    assert told(order="newest_first") == "Heat\nUp\nHeat\n"
    assert told(ratings=True) == "Heat\n(rated 4)\nUp\nHeat\n(rated 3.5)\n"
    # the event without a text is not told, nor the time around it; a fifth of a day is nothing
    assert told(gaps=True) == "Heat\n(3 days between)\nUp\nHeat\n"
    assert told(gaps=True, order="newest_first", history=2) == "Heat\nUp\n"
    assert told(ratings=True, rating="{rating}! ", history=1) == "Heat\n3.5! "


def test_what_is_unknown_is_not_told() -> None:
    prompts = Prompts.of(CATALOG, "title", PromptSettings(ratings=True, gaps=True), tokenizer())
    np.testing.assert_array_equal(prompts.told([0, 2]), prompts.told(Events.of([0, 2])))
    assert tokenizer().decode(prompts.told([0, 2]).tolist()) == "Heat\nUp\n"


def test_longest_counts_the_notes() -> None:
    made = PromptSettings(ratings=True, gaps=True, history=4)
    prompts = Prompts.of(CATALOG, "title", made, tokenizer())
    far = Events(EVENTS.items, np.full(4, 0.125), np.arange(4) * 900 * DAY)
    assert len(prompts.sequence(far)) + max(map(len, prompts.questions)) <= prompts.longest


@pytest.mark.parametrize(
    ("days", "words"),
    [(0.49, ""), (0.5, "1 day"), (13.4, "13 days"), (14, "2 weeks"), (60, "9 weeks"),
     (61, "2 months"), (729, "24 months"), (730, "2 years"), (float("nan"), "")],
)  # fmt: skip
def test_gaps_in_words(days: float, words: str) -> None:
    assert gap_words(days * DAY) == words


def test_ratings_in_words() -> None:
    assert [rating_words(x) for x in (5.0, 0.5, 3.25)] == ["5", "0.5", "3.25"]


@pytest.mark.parametrize("bad", [{"rating": "none"}, {"gap": "{gap}{gap}"}, {"line": "{text}"}])
def test_templates_need_their_slots(bad: dict) -> None:
    with pytest.raises(ValidationError, match="once"):
        PromptSettings(**bad)
