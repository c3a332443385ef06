"""What the causal model reads: histories, items and questions as token ids.

A sequence is the header, the history's items in their order, and the candidate, each rendered and
tokenised on its own. So a candidate has the same tokens after every history, and the
text that is scored is, token for token, the text that is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from finetuning.settings import as_tuple
from fusion.data.dataset import Catalog
from fusion.errors import ConfigError, explain
from fusion.protocols import ComponentConfig
from rankers.gpt_rendering import Events, Notes

__all__ = ["Encode", "Prompts", "PromptSettings", "encoder", "item_texts", "render"]

Tokens = npt.NDArray[np.int64]
Encode = Callable[[list[str]], list[list[int]]]
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
    answers: Annotated[tuple[str, str], BeforeValidator(as_tuple)] = Field(
        (" yes", " no"), description="yes_no: the two answers; their first tokens are compared"
    )
    history: int = Field(10, ge=1, description="how many of the newest events are read")
    order: Literal["oldest_first", "newest_first"] = Field(
        "oldest_first", description="of the history's events"
    )
    ratings: bool = Field(False, description="tell what the user's events were rated")
    rating: str = Field(
        "(rated {rating})\n", description="ratings: the line after an item of the history"
    )
    gaps: bool = Field(False, description="tell the time between the user's events")
    gap: str = Field(
        "({gap} between)\n",
        description="gaps: the line between two events half a day or more apart; in days, weeks, "
        "months or years",
    )
    choice: str = Field(
        "Which of these is the next choice?\n", description="listwise: what stands before the list"
    )
    line: str = Field("{label}. {text}\n", description="listwise: one item of the list")
    cue: str = Field("Answer:", description="listwise: what the label follows, after a space")
    max_item_tokens: int = Field(
        16, ge=2, description="tokens of an item's text that are read; a longer text is cut"
    )

    @field_validator("item", "question")
    @classmethod
    def _has_slot(cls, value: str) -> str:
        if value.count(_SLOT) != 1:
            raise ValueError(f"must hold {_SLOT} once")
        return value

    @field_validator("rating", "gap", "line")
    @classmethod
    def _has_slots(cls, value: str, info: ValidationInfo) -> str:
        wanted = ("{label}", _SLOT) if info.field_name == "line" else (f"{{{info.field_name}}}",)
        if any(value.count(slot) != 1 for slot in wanted):
            raise ValueError(f"must hold {' and '.join(wanted)} once")
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
        notes: what is said of them beside their texts.
        newest_first: their order.
        first: token ids that stand before the header's own words.
    """

    header: Tokens
    items: tuple[Tokens, ...]
    questions: tuple[Tokens, ...]
    answers: tuple[int, int]
    history: int
    notes: Notes
    newest_first: bool = False
    first: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        catalog: Catalog,
        field: str,
        settings: PromptSettings,
        tokenizer: Any,
        *,
        first: Sequence[int] = (),
        texts: Sequence[str] | None = None,
    ) -> Prompts:
        """Tokenise every item once.

        Args:
            catalog: the items.
            field: ``title`` or ``text``, see `item_texts`.
            settings: the templates.
            tokenizer: of Hugging Face transformers.
            first: token ids before everything else.
            texts: one an item, instead of the catalogue's.

        Raises:
            ConfigError: the two answers start with one token, or the header is empty and the
                tokenizer has no token that could start a text.
        """
        encode = encoder(tokenizer)
        texts = item_texts(catalog, field) if texts is None else list(texts)
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
            np.array([*first, *header], np.int64),
            render(settings.item, texts, settings.max_item_tokens, encode),
            render(settings.question, texts, settings.max_item_tokens, encode),
            (firsts[0], firsts[1]),
            settings.history,
            Notes(
                settings.rating if settings.ratings else "",
                settings.gap if settings.gaps else "",
                encode,
            ),
            settings.order == "newest_first",
            tuple(first),
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
        history = self.history * (item + self.notes.longest)
        return len(self.header) + history + max(item, question)

    @property
    def plain(self) -> bool:
        """Whether a history is its items' texts, the oldest first, and nothing else."""
        return not self.notes and not self.newest_first

    def sequence(self, events: Events | Sequence[int] | npt.NDArray[np.integer[Any]]) -> Tokens:
        """The header and the newest of ``events`` that have a text, in the order that was asked."""
        return np.concatenate([self.header, self.told(events)])

    def told(self, events: Events | Sequence[int] | npt.NDArray[np.integer[Any]]) -> Tokens:
        """The same without the header; perhaps empty."""
        if not isinstance(events, Events):
            events = Events.of(events)
        which = [e for e, item in enumerate(events.items.tolist()) if len(self.items[item])]
        which = which[-self.history :]
        if self.newest_first:
            which = which[::-1]
        parts: list[Tokens] = [np.empty(0, np.int64)]
        for place, e in enumerate(which):
            if place:
                before = which[place - 1]
                parts.append(self.notes.between(events.times[before], events.times[e]))
            parts += [self.items[events.items[e]], self.notes.after(float(events.ratings[e]))]
        return np.concatenate(parts)


def encoder(tokenizer: Any) -> Encode:
    """Texts to lists of token ids.

    A title that spells a control token is text: it must never act as one.
    """
    return lambda texts: tokenizer(texts, add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ]


def render(
    template: str,
    texts: list[str],
    limit: int,
    encode: Encode,
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
