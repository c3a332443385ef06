"""What the causal model reads: histories, items and questions as token ids.

A sequence is the header, the history's items from the oldest to the newest, and the candidate, each
rendered and tokenised on its own. So a candidate has the same tokens after every history, and the
text that is scored is, token for token, the text that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from fusion.data.dataset import Catalog
from fusion.errors import ConfigError, explain
from fusion.protocols import ComponentConfig

__all__ = ["Prompts", "PromptSettings", "item_texts"]

Tokens = npt.NDArray[np.int64]
_SLOT = "{text}"


class PromptSettings(ComponentConfig):
    """How histories and candidates are put into words. No wording names a kind of item."""

    header: str = Field(
        "Chosen one after another:\n", description="what stands before the history; may be empty"
    )
    item: str = Field(
        "{text}\n",
        description="one item, in the history and as a candidate; its end should mark the end of "
        "the text, so that a short title is no prefix of a long one",
    )
    question: str = Field(
        "Next choice: {text}? Answer:", description="yes_no: what is asked of a candidate"
    )
    answers: tuple[str, str] = Field(
        (" yes", " no"), description="yes_no: the two answers; their first tokens are compared"
    )
    history: int = Field(10, ge=1, description="how many of the newest events are read")
    max_item_tokens: int = Field(
        16, ge=2, description="tokens of an item's text that are read; a longer text is cut"
    )

    @field_validator("item", "question")
    @classmethod
    def _has_slot(cls, value: str) -> str:
        if value.count(_SLOT) != 1:
            raise ValueError(f"must hold {_SLOT} once")
        return value


def item_texts(catalog: Catalog, field: str) -> list[str]:
    """The text of every item; "" where the catalogue knows none (an id is no text).

    Args:
        catalog: the items.
        field: ``title`` (the whole text where there is no title) or ``text`` (the title where there
            is no text).
    """
    out = []
    for name, title, text in zip(catalog.ids, catalog.titles, catalog.texts, strict=True):
        title = "" if title == name else title  # noqa: PLW2901 - the catalogue's stand-in
        out.append((title or text) if field == "title" else (text or title))
    return out


@dataclass(frozen=True)
class Prompts:
    """The catalogue in tokens.

    Attributes:
        header: what every sequence starts with; never empty.
        items: one array of token ids an item; empty where the item has no text.
        questions: likewise, the candidate put as a question.
        answers: token ids of yes and no.
        history: how many of the newest events are read.
    """

    header: Tokens
    items: tuple[Tokens, ...]
    questions: tuple[Tokens, ...]
    answers: tuple[int, int]
    history: int

    @classmethod
    def of(cls, catalog: Catalog, field: str, settings: PromptSettings, tokenizer: Any) -> Prompts:
        """Tokenise every item once.

        Args:
            catalog: the items.
            field: ``title`` or ``text``, see `item_texts`.
            settings: the templates.
            tokenizer: of Hugging Face transformers.

        Raises:
            ConfigError: the two answers start with one token, or the header is empty and the
                tokenizer has no token that could start a text.
        """
        # a title that spells a control token is text: it must never act as one
        encode: Callable[[list[str]], list[list[int]]] = lambda texts: tokenizer(  # noqa: E731
            texts, add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        texts = item_texts(catalog, field)
        start = tokenizer.bos_token_id
        header = ([] if start is None else [start]) + (
            encode([settings.header])[0] if settings.header else []
        )
        if not header and tokenizer.eos_token_id is not None:
            header = [tokenizer.eos_token_id]
        if not header:
            raise ConfigError(
                explain(
                    "gpt prompt", "a header", "an empty one", "the tokenizer has no start token"
                )
            )
        firsts = [tokens[0] if tokens else -1 for tokens in encode(list(settings.answers))]
        if firsts[0] == firsts[1] or -1 in firsts:
            raise ConfigError(
                explain(
                    "gpt prompt.answers",
                    "two answers that start with different tokens",
                    f"{settings.answers}",
                    "choose two others for this tokenizer",
                )
            )
        return cls(
            np.array(header, np.int64),
            _render(settings.item, texts, settings.max_item_tokens, encode),
            _render(settings.question, texts, settings.max_item_tokens, encode),
            (firsts[0], firsts[1]),
            settings.history,
        )

    @property
    def has_text(self) -> npt.NDArray[np.bool_]:
        """(I,) bool: whether there is anything to read of an item."""
        return np.array([len(tokens) > 0 for tokens in self.items], dtype=bool)

    @property
    def longest(self) -> int:
        """The highest number of positions that a history with a candidate may take."""
        item = max((len(t) for t in self.items), default=0)
        question = max((len(t) for t in self.questions), default=0)
        return len(self.header) + self.history * item + max(item, question)

    def sequence(self, items: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Tokens:
        """The header and the newest of ``items`` that have a text, the oldest first."""
        known = [self.items[i] for i in items if len(self.items[i])]
        return np.concatenate([self.header, *known[-self.history :]])


def _render(
    template: str,
    texts: list[str],
    limit: int,
    encode: Callable[[list[str]], list[list[int]]],
) -> tuple[Tokens, ...]:
    """Each text in its template. Only the text is cut to ``limit`` tokens, never the template."""
    before, after = template.split(_SLOT)
    which = [i for i, text in enumerate(texts) if text]
    out = [np.empty(0, np.int64)] * len(texts)
    if not which:
        return tuple(out)
    # Text and template are tokenised as one string, so that the tokenizer's usual merges apply.
    whole = encode([before + texts[i] + after for i in which])
    head, tail = encode([before])[0] if before else [], encode([after])[0] if after else []
    room = len(head) + limit + len(tail)
    for i, tokens in zip(which, whole, strict=True):
        cut = tokens if len(tokens) <= room else [*tokens[: room - len(tail)], *tail]
        out[i] = np.array(cut, np.int64)
    return tuple(out)
