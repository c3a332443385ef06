from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from bert_models import tokenizer

from fusion.ragged import Ragged
from rankers.bert_config import Config
from rankers.bert_history import Past
from rankers.bert_text import Texts, token_ids
from rankers.bert_views import VARIANTS, View, shuffled_ties, variants, view_of

CATALOGUE = ["The crime story 1", "The war story 2", ""]


def config(**options: Any) -> Config:
    return Config.model_validate({"item_tokens": 8, **options})


def texts() -> Texts:
    return Texts(token_ids(tokenizer(), CATALOGUE, 8), 2, 3, 0, 8, 40)


def past(n: int, times: list[float] | None = None) -> Past:
    when = np.arange(n, dtype=np.float64) if times is None else np.array(times)
    return Past(np.arange(n, dtype=np.int32), np.arange(n, dtype=np.float32), when)


def view(wordings: int = 1, n_items: int = 9, **options: Any) -> View:
    return View(config(**options), n_items, wordings, seed=5)


def test_nothing_asked_for_is_no_view() -> None:
    assert view_of(config(), texts(), 1, 0) is None
    assert view_of(config(shuffle_ties=True), texts(), 1, 0) is not None
    assert view_of(config(augmentation={"mask": 0.1}), texts(), 1, 0) is not None


def test_an_example_is_seen_alike_each_time_and_otherwise_than_the_next() -> None:
    look = view(augmentation={"crop": 1.0, "reorder": 1.0})
    items = np.array([[7, 8, -1]], np.int32)
    first, kept = look(np.array([3]), [past(8)], items)
    again, _ = look(np.array([3]), [past(8)], items)
    np.testing.assert_array_equal(first[0].items, again[0].items)
    np.testing.assert_array_equal(kept, items)
    # what is known of an event stays with it
    np.testing.assert_array_equal(first[0].items, first[0].ratings)
    np.testing.assert_array_equal(first[0].items, first[0].times)
    assert len(first[0].items) == 5  # round(0.6 * 8)
    seen = {tuple(look(np.array([n]), [past(8)], items)[0][0].items) for n in range(20)}
    assert len(seen) > 5


def test_ties_have_no_order_and_others_keep_theirs() -> None:
    rng = np.random.default_rng(0)
    orders = {tuple(shuffled_ties(past(4, [1, 1, 1, 2]), rng).items.tolist()) for _ in range(60)}
    assert len(orders) == 6
    assert all(order[-1] == 3 for order in orders)
    unknown = past(3, [1.0, np.nan, 1.0])
    assert shuffled_ties(unknown, rng) is unknown
    bare = Past(np.arange(3, dtype=np.int32))
    assert shuffled_ties(bare, rng) is bare


def test_texts_in_other_words(tmp_path: Path) -> None:
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"story": ["music"]}), "utf-8")
    asked = config(augmentation={"synonyms": str(file), "synonym_share": 1.0})
    own = texts()
    more, count = variants(own, tokenizer(), CATALOGUE, asked, np.random.default_rng(0))
    assert count == 1 + VARIANTS
    assert len(more.items) == count * 3
    story, music = tokenizer()("story music", add_special_tokens=False)["input_ids"]
    for item in range(2):
        assert more.items[item].tolist() == own.items[item].tolist()
        changed = [music if t == story else t for t in own.items[item].tolist()]
        assert more.items[item + 3].tolist() == changed
    assert not more.known[[2, 5, 8, 11]].any()

    look = View(asked, 3, count, seed=0)
    items = np.array([[1, -1]], np.int32)
    found = [look(np.array([n]), [past(3)], items) for n in range(40)]
    assert {int(out[0, 0]) for _, out in found} == {1, 4, 7, 10}
    assert all(out[0, 1] == -1 for _, out in found)
    assert all((seen[0].items % 3 == np.arange(3)).all() for seen, _ in found)
    assert len({int(seen[0].items[0]) for seen, _ in found}) == 4


def test_without_words_the_texts_are_the_same() -> None:
    own = texts()
    same, count = variants(own, tokenizer(), CATALOGUE, config(), np.random.default_rng(0))
    assert same is own
    assert count == 1


def test_a_view_knows_the_size_of_the_catalogue() -> None:
    six = Texts(Ragged.of([[1]] * 6), 2, 3, 0, 8, 40)
    look = view_of(config(), six, 2, 0)
    assert look is not None
    assert look.n_items == 3
