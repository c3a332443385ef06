"""Other histories and other texts that mean about the same.

Crop, mask and reorder are the three of CL4SRec (Xie et al. 2020, arXiv:2010.14395), with one
difference: a masked event is left out, since a text has no item that stands for "some item".
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from finetuning.settings import Augmentation
from fusion.errors import ConfigError, explain

__all__ = ["TextAugmenter", "crop", "mask", "positions", "reorder", "with_synonyms"]

Array = TypeVar("Array", bound=npt.NDArray[Any])
_WORD = re.compile(r"\w+")


def crop(history: Array, settings: Augmentation, rng: np.random.Generator) -> Array:
    """A part of ``history`` (N,) in one piece: ``crop_share`` of it, at least one event."""
    size = _part(len(history), settings.crop_share)
    start = int(rng.integers(len(history) - size + 1))
    return history[start : start + size]  # type: ignore[return-value]


def mask(history: Array, settings: Augmentation, rng: np.random.Generator) -> Array:
    """``history`` (N,) in its order without ``mask_share`` of it; one event stays at least."""
    gone = min(round(settings.mask_share * len(history)), len(history) - 1)
    out = rng.choice(len(history), max(gone, 0), replace=False)
    return np.delete(history, out)  # type: ignore[return-value]


def reorder(history: Array, settings: Augmentation, rng: np.random.Generator) -> Array:
    """``history`` (N,) with a part in one piece, ``reorder_share`` of it, shuffled."""
    size = _part(len(history), settings.reorder_share)
    start = int(rng.integers(len(history) - size + 1))
    out = history.copy()
    out[start : start + size] = rng.permutation(out[start : start + size])
    return out


def positions(
    length: int, settings: Augmentation, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Places of a history of ``length`` events to read instead of 0, 1, ...: (M,) int64, M <= N.

    Each change is made with its own probability, crop first. Index items, times and ratings with
    what comes, so that they stay together. Without any change the places are all of them in order.
    """
    places = np.arange(length, dtype=np.int64)
    for chance, change in (
        (settings.crop, crop),
        (settings.mask, mask),
        (settings.reorder, reorder),
    ):
        if chance and length and rng.random() < chance:
            places = change(places, settings, rng)
    return places


def _part(length: int, share: float) -> int:
    return min(length, max(1, round(share * length)))


def with_synonyms(
    text: str, synonyms: Mapping[str, Sequence[str]], share: float, rng: np.random.Generator
) -> str:
    """``text`` with ``share`` of the words that have synonyms (by their lower case) replaced.

    A capital first letter stays one.
    """

    def other(match: re.Match[str]) -> str:
        word = match[0]
        known = synonyms.get(word.lower())
        if not known or rng.random() >= share:
            return word
        chosen = known[int(rng.integers(len(known)))]
        return chosen[:1].upper() + chosen[1:] if word[0].isupper() else chosen

    return _WORD.sub(other, text)


class TextAugmenter:
    """Says texts in other words: first the hook ``rewrite``, then synonyms.

    Args:
        settings: what to do; the file and the hook are read at once, so that a mistake is found
            before hours of training.

    Raises:
        ConfigError: the file is not ``{word: [words]}``, or the hook cannot be called.
    """

    def __init__(self, settings: Augmentation) -> None:
        self._share = settings.synonym_share
        self._synonyms = {} if settings.synonyms is None else _table(settings.synonyms)
        self._rewrite = None if settings.rewrite is None else _hook(settings.rewrite)

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self._rewrite is not None or bool(self._synonyms)

    def __call__(self, texts: Sequence[str], rng: np.random.Generator) -> list[str]:
        """As many texts, in the same order.

        Raises:
            ConfigError: the hook gave something else.
        """
        told = list(texts)
        if self._rewrite is not None:
            found = self._rewrite(told)
            if len(found) != len(told) or not all(isinstance(text, str) for text in found):
                raise ConfigError(
                    explain(
                        "augmentation.rewrite", f"{len(told)} texts", f"{len(found)} of something"
                    )
                )
            told = list(found)
        if self._synonyms:
            told = [with_synonyms(text, self._synonyms, self._share, rng) for text in told]
        return told


def _table(path: str) -> dict[str, list[str]]:
    who = f"augmentation.synonyms {path}"
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            explain(who, "a JSON file {word: [words]}", f"{type(error).__name__}: {error}")
        ) from error
    if not (
        isinstance(found, dict)
        and all(
            isinstance(words, list) and words and all(isinstance(w, str) and w for w in words)
            for words in found.values()
        )
    ):
        raise ConfigError(explain(who, "a list of words for every word", "another shape"))
    return {word.lower(): words for word, words in found.items()}


def _hook(name: str) -> Callable[[list[str]], Sequence[str]]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            explain(
                "augmentation.rewrite", "module:function to be importable", f"{name!r}: {error}"
            )
        ) from error
    if not callable(found):
        raise ConfigError(explain("augmentation.rewrite", "a function", f"{name!r}, which is none"))
    return found  # type: ignore[no-any-return]
