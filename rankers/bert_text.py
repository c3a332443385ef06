"""What the BERT ranker reads: item texts as token ids, made once, and histories made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.errors import ConfigError, explain
from fusion.ragged import Ragged

__all__ = ["Texts", "tokenize"]

_BATCH = 4096  # texts handed to the tokenizer at once


@dataclass(frozen=True, slots=True)
class Texts:
    """The catalogue in the encoder's tokens.

    Attributes:
        items: ``I`` lists of token ids without special tokens, cut to a limit; empty
            where the item has no text.
        start: token that opens the history (``[CLS]``, ``<s>``).
        end: token that closes the history and every candidate (``[SEP]``, ``</s>``).
        pad: padding token.
        history_events: how many of the newest events with text the history shows.
        history_tokens: how many tokens it may have, its two special tokens not counted.
    """

    items: Ragged
    start: int
    end: int
    pad: int
    history_events: int
    history_tokens: int

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(I,) bool: the items that have text."""
        return self.items.lengths > 0

    def candidate(self, item: int) -> list[int]:
        """``[CLS] item text [SEP]``: a candidate is opened like a text of its own."""
        return [self.start, *self.items[item].tolist(), self.end]

    def history(self, events: npt.NDArray[np.int32]) -> list[int]:
        """``[CLS] oldest ... newest [SEP]`` of item_index ``events``, the oldest first.

        Events without text are passed over. Of the newest ``history_events`` that remain, the
        oldest are left out until the rest fits ``history_tokens``; the newest event always stays,
        cut if it must be. Empty where no event has text.
        """
        shown: list[int] = []
        for item in events[self.known[events]][::-1][: self.history_events]:
            tokens = self.items[item].tolist()
            if shown and len(shown) + len(tokens) > self.history_tokens:
                break
            shown = tokens[: self.history_tokens] + shown
        return [self.start, *shown, self.end] if shown else []


def tokenize(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    item_tokens: int,
    history_events: int,
    history_tokens: int,
) -> Texts:
    """Every text's first ``item_tokens`` token ids.

    Args:
        tokenizer: a Hugging Face tokenizer.
        texts: ``I`` texts; "" = none.
        item_tokens: of each text at most.
        history_events: see `Texts`.
        history_tokens: see `Texts`.

    Raises:
        ConfigError: the tokenizer has no pair of tokens that open and close a text.
    """
    start = next(
        (t for t in (tokenizer.cls_token_id, tokenizer.bos_token_id) if t is not None), None
    )
    end = next((t for t in (tokenizer.sep_token_id, tokenizer.eos_token_id) if t is not None), None)
    if start is None or end is None:
        raise ConfigError(
            explain(
                "bert",
                "a base model whose tokenizer has [CLS] and [SEP] (or <s> and </s>)",
                f"start {start}, end {end}",
                "choose an encoder such as BERT, MiniLM or RoBERTa",
            )
        )
    lists: list[list[int]] = []
    for at in range(0, len(texts), _BATCH):
        batch = tokenizer(
            list(texts[at : at + _BATCH]),
            add_special_tokens=False,
            truncation=True,
            max_length=item_tokens,
            return_attention_mask=False,
        )
        lists += batch["input_ids"]
    pad = tokenizer.pad_token_id
    return Texts(
        Ragged.of(lists), start, end, end if pad is None else pad, history_events, history_tokens
    )
