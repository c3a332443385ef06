from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuning.augmentation import TextAugmenter, crop, mask, positions, reorder, with_synonyms
from finetuning.settings import Augmentation
from fusion.errors import ConfigError

HISTORY = np.arange(10, 20)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_crop_keeps_one_piece() -> None:
    starts = set()
    for seed in range(50):
        found = crop(HISTORY, Augmentation(crop_share=0.6), rng(seed))
        assert found.tolist() == list(range(found[0], found[0] + 6))
        starts.add(int(found[0]))
    assert starts == {10, 11, 12, 13, 14}


def test_one_event_stays_at_least() -> None:
    assert len(crop(HISTORY[:2], Augmentation(crop_share=0.01), rng())) == 1
    assert len(mask(HISTORY[:2], Augmentation(mask_share=0.99), rng())) == 1


def test_mask_leaves_some_out_in_order() -> None:
    found = mask(HISTORY, Augmentation(mask_share=0.3), rng())
    assert len(found) == 7
    assert sorted(found) == found.tolist()
    assert set(found) < set(HISTORY)


def test_reorder_shuffles_one_piece() -> None:
    moved = set()
    for seed in range(30):
        found = reorder(HISTORY, Augmentation(reorder_share=0.3), rng(seed))
        assert sorted(found) == HISTORY.tolist()
        places = np.flatnonzero(found != HISTORY)
        assert len(places) == 0 or places[-1] - places[0] < 3
        moved |= set(places.tolist())
    assert moved == set(range(10))
    assert HISTORY.tolist() == list(range(10, 20)), "the history itself stays"


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 12), st.integers(0, 1000), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_places_are_some_of_the_history(length: int, seed: int, share: float, gone: float) -> None:
    told = Augmentation(
        crop=0.5, mask=0.5, reorder=0.5, crop_share=share, mask_share=gone, reorder_share=share
    )
    found = positions(length, told, rng(seed))
    assert found.dtype == np.int64
    assert len(set(found)) == len(found)
    assert set(found) <= set(range(length))
    assert (len(found) > 0) == (length > 0)
    assert positions(length, Augmentation(), rng(seed)).tolist() == list(range(length))


def test_each_change_has_its_probability() -> None:
    told = Augmentation(crop=0.25)
    generator = rng()
    changed = sum(len(positions(10, told, generator)) < 10 for _ in range(2000))
    assert changed == pytest.approx(500, abs=80)


def test_synonyms_by_hand() -> None:
    table = {"big": ["large"], "war": ["battle"]}
    text = "Big WAR, a bigger big-war."
    assert with_synonyms(text, table, 1.0, rng()) == "Large Battle, a bigger large-battle."
    assert with_synonyms(text, table, 0.0, rng()) == text
    many = with_synonyms("big " * 1000, table, 0.3, rng()).split()
    assert many.count("large") == pytest.approx(300, abs=60)


def doubled(texts: Sequence[str]) -> list[str]:
    return [f"{text} {text}" for text in texts]


def too_few(texts: Sequence[str]) -> list[str]:
    return list(texts)[1:]


def test_texts_are_rewritten_and_then_have_synonyms(tmp_path: Path) -> None:
    file = tmp_path / "synonyms.json"
    file.write_text(json.dumps({"Big": ["large"]}), "utf-8")
    told = TextAugmenter(
        Augmentation(
            synonyms=str(file), synonym_share=1.0, rewrite="test_finetuning_augmentation:doubled"
        )
    )
    assert told.changes
    assert told(["big one", ""], rng()) == ["large one large one", " "]
    assert TextAugmenter(Augmentation())(["as it is"], rng()) == ["as it is"]
    assert not TextAugmenter(Augmentation()).changes


@pytest.mark.parametrize(
    ("content", "fault"),
    [("{", "JSONDecodeError"), ('["a"]', "another shape"), ('{"a": "b"}', "another shape")],
)
def test_a_file_of_synonyms_that_is_none(tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "synonyms.json"
    file.write_text(content, "utf-8")
    with pytest.raises(ConfigError, match=fault):
        TextAugmenter(Augmentation(synonyms=str(file)))


@pytest.mark.parametrize("hook", ["nonsense", "no_such_module:f", "json:no_such", "json:__name__"])
def test_a_hook_that_cannot_be_called(hook: str) -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.rewrite"):
        TextAugmenter(Augmentation(rewrite=hook))


def test_a_missing_file_and_a_hook_that_loses_texts() -> None:
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        TextAugmenter(Augmentation(synonyms="nowhere.json"))
    told = TextAugmenter(Augmentation(rewrite="test_finetuning_augmentation:too_few"))
    with pytest.raises(ConfigError, match="2 texts, got 1"):
        told(["a", "b"], rng())


def test_the_same_seed_says_the_same() -> None:
    told: Any = Augmentation(crop=1.0, mask=1.0, reorder=1.0)
    assert positions(9, told, rng(4)).tolist() == positions(9, told, rng(4)).tolist()
