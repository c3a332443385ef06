"""What the BERT ranker reads: item texts as token ids, made once, and histories made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.artifacts import read_arrays, write_arrays
from fusion.errors import ConfigError, explain
from fusion.ragged import Ragged, spans
from rankers.bert_history import PLAIN, Past, Wording

__all__ = ["Texts", "load_tokens", "save_tokens", "token_ids", "tokenize", "tokens_key"]

_BATCH = 4096  # texts handed to the tokenizer at once


@dataclass(frozen=True)
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
        middle: how many ``end`` tokens stand between the two texts of a pair (RoBERTa has two).
        wording: order of the history, and what is said of each event beside its text.
    """

    items: Ragged
    start: int
    end: int
    pad: int
    history_events: int
    history_tokens: int
    middle: int = 1
    wording: Wording = PLAIN

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(I,) int64: tokens of each item's text."""
        return self.items.lengths

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """(I,) bool: the items that have text."""
        return self.lengths > 0

    @cached_property
    def candidates(self) -> Ragged:
        """``I`` lists ``[CLS] item text [SEP]``; empty where the item has no text."""
        lengths = np.where(self.known, self.lengths + 2, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        values = np.full(int(offsets[-1]), self.end, np.int32)
        values[offsets[:-1][self.known]] = self.start
        values[spans(offsets[:-1] + 1, self.lengths)] = self.items.values
        return Ragged(offsets, values)

    def candidate(self, item: int) -> list[int]:
        """``[CLS] item text [SEP]``: a candidate is opened like a text of its own."""
        tokens: list[int] = self.candidates[item].tolist()
        return tokens

    def shown(self, events: npt.NDArray[np.int32] | Past) -> npt.NDArray[np.int32]:
        """Tokens of the history's text alone, see `history`; (0,) where no event has text."""
        past = events if isinstance(events, Past) else Past(events)
        past = past.take(np.flatnonzero(self.known[past.items])[-self.history_events :])
        if not len(past.items):
            return np.empty(0, np.int32)
        codes = self.wording.codes(past)
        lengths = self.lengths[past.items] + self.wording.notes.lengths[codes]
        used = np.cumsum(lengths[::-1])  # from the newest on
        n = max(1, int(np.searchsorted(used, self.history_tokens, side="right")))
        step = -1 if self.wording.newest_first else 1
        items, codes = past.items[-n:][::step], codes[-n:][::step]
        # more than the limit only where the newest alone is
        return self.wording.write(codes, self.items.take(items))[: self.history_tokens]

    def history(self, events: npt.NDArray[np.int32] | Past) -> list[int]:
        """``[CLS] oldest ... newest [SEP]`` of ``events``, which come the oldest first.

        Events without text are passed over. Of the newest ``history_events`` that remain, the
        oldest are left out until the rest fits ``history_tokens``; the newest event always stays,
        cut if it must be. Empty where no event has text. `wording` may turn the order round and
        put words before the texts.

        Args:
            events: (n,) int32 item_index, or with ratings and times as a `Past`.
        """
        shown = self.shown(events).tolist()
        return [self.start, *shown, self.end] if shown else []


def tokenize(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    item_tokens: int,
    history_events: int,
    history_tokens: int,
    items: Ragged | None = None,
    wording: Wording = PLAIN,
) -> Texts:
    """Every text's first ``item_tokens`` token ids.

    Args:
        tokenizer: a Hugging Face tokenizer.
        texts: ``I`` texts; "" = none.
        item_tokens: of each text at most.
        history_events: see `Texts`.
        history_tokens: see `Texts`.
        items: the token ids, where they are known already; see `load_tokens`.
        wording: see `Texts`.

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
    pad = tokenizer.pad_token_id
    return Texts(
        token_ids(tokenizer, texts, item_tokens) if items is None else items,
        start,
        end,
        end if pad is None else pad,
        history_events,
        history_tokens,
        max(1, tokenizer.num_special_tokens_to_add(pair=True) - 2),
        wording,
    )


def tokens_key(tokenizer: Any, texts: Sequence[str], item_tokens: int) -> str:
    """A hash of all that decides the token ids of ``texts``: same key, same ids."""
    digest = sha256()
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = {"vocab": tokenizer.get_vocab()} if backend is None else json.loads(backend.to_str())
    # what the last call asked for, not what the tokenizer is
    rules = {k: v for k, v in rules.items() if k not in ("truncation", "padding")}
    for part in (json.dumps(rules, sort_keys=True), str(item_tokens), *texts):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def save_tokens(path: Path, texts: Texts, key: str) -> None:
    """Write the catalogue's token ids, and the ``key`` of what they were made of."""
    named = np.frombuffer(key.encode(), np.uint8)
    arrays: dict[str, npt.NDArray[Any]] = {
        "offsets": texts.items.offsets,
        "values": texts.items.values,
        "key": named,
    }
    write_arrays(path, arrays)


def load_tokens(path: Path, key: str) -> Ragged | None:
    """What `save_tokens` wrote under the same ``key``; ``None`` where it is not there."""
    if not path.is_file():
        return None
    arrays = read_arrays(path)
    if arrays["key"].tobytes().decode() != key:
        return None
    return Ragged(arrays["offsets"], arrays["values"])


def token_ids(tokenizer: Any, texts: Sequence[str], item_tokens: int) -> Ragged:
    """The first ``item_tokens`` token ids of each text, without special tokens."""
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
    if getattr(tokenizer, "backend_tokenizer", None) is not None:
        tokenizer.backend_tokenizer.no_truncation()  # else the limit is saved with it
    return Ragged.of(lists)
