"""Listwise scoring: which label of a list would the model name?

A model that is shown a list and asked for one label compares the items with each other, which
separate questions cannot do. But a score that depends on which other candidates a retriever
happened to bring is no score of the item: it could not be completed, cached or fused. So what a
candidate is compared with is fixed by the query alone: ``list_size - 1`` other items of the
catalogue, drawn by a hash of the history, popular ones more often. Every candidate takes the last
place of that same list in its turn, and its score is its log-odds against the others,

    logit(its label) - log sum exp(logits of the others' labels),

read from the logits of one pass: the history and the others are the stem that all candidates share.

Models prefer some labels and places whatever stands there (Zheng et al. 2024, "Large Language
Models Are Not Robust Multiple Choice Selectors", https://arxiv.org/abs/2309.03882). Between the
candidates of a query this cannot be felt, as all have the same place and label; what it does to the
comparison with the others is averaged out over ``permutations`` shuffles of those. A candidate that
is one of the others stands in the list twice; then the chance of both labels is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from fusion.errors import ConfigError, explain
from rankers.gpt_config import ListSettings
from rankers.gpt_prompt import Prompts, PromptSettings, Tokens, encoder, item_texts, render
from rankers.gpt_reader import Reader
from rankers.gpt_rendering import Events
from rankers.gpt_scoring import plan

__all__ = ["Lists", "Shown", "log_odds", "sampling_weights", "score_lists"]

Floats = npt.NDArray[np.float32]
_LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_POPULARITY_POWER = 0.75  # of sampled negatives; Mikolov et al. 2013, arXiv:1310.4546


@dataclass(frozen=True, slots=True)
class Shown:
    """One query's list but for its last place.

    Attributes:
        stem: token ids: the history, and the list so far.
        others: (L - 1,) item_index in the order of the list.
        labels: (L,) token ids of the labels as answers, in their order; the last is the
            candidate's.
        before: token ids that stand before a candidate's text: its label in the list.
    """

    stem: Tokens
    others: npt.NDArray[np.int64]
    labels: Tokens
    before: Tokens


@dataclass(frozen=True)
class Lists:
    """What lists are made of, in tokens.

    Attributes:
        prompts: the catalogue, for the histories.
        choice: what stands between the history and the list.
        marks: token ids of each label at the start of a line.
        lines: one array an item: the rest of its line.
        cue: what stands before the answer.
        answers: (L,) token ids of the labels as answers.
        weights: (I,) float64: how often an item is drawn, relative to others; 0 = never.
        permutations: lists a query.
    """

    prompts: Prompts
    choice: Tokens
    marks: tuple[Tokens, ...]
    lines: tuple[Tokens, ...]
    cue: Tokens
    answers: Tokens
    weights: npt.NDArray[np.float64]
    permutations: int

    @classmethod
    def of(
        cls,
        prompts: Prompts,
        data: Dataset,
        field: str,
        wording: PromptSettings,
        settings: ListSettings,
        tokenizer: Any,
        texts: Sequence[str] | None = None,
    ) -> Lists:
        """Tokenise every item's line once; ``texts``, one an item, instead of the catalogue's.

        Raises:
            ConfigError: the tokenizer has no single token for each label.
        """
        encode = encoder(tokenizer)
        labels = _LABELS[: settings.list_size]
        start, end = wording.line.split("{text}")
        kept = start.rstrip()
        rest = start[len(kept) :] + "{text}" + end  # a space belongs to the word after it
        texts = item_texts(data.catalog, field) if texts is None else list(texts)
        cue, answers = _answers(wording.cue, labels, encode)
        return cls(
            prompts,
            np.array(encode([wording.choice])[0] if wording.choice else [], np.int64),
            tuple(
                np.array(t, np.int64) for t in encode([kept.replace("{label}", c) for c in labels])
            ),
            render(rest, texts, wording.max_item_tokens, encode),
            cue,
            answers,
            sampling_weights(data, prompts.has_text),
            settings.permutations,
        )

    @property
    def longest(self) -> int:
        """The most positions that a history with a list may take."""
        line = max((len(t) for t in self.lines), default=0) + max(map(len, self.marks))
        history = self.prompts.longest  # with a candidate, which is more than nothing
        return history + len(self.choice) + len(self.marks) * line + len(self.cue)

    def show(self, events: Events, permutation: int, without: Sequence[int] = ()) -> Shown:
        """The list for ``events``, in the shuffle number ``permutation``.

        Args:
            events: the history.
            permutation: from 0; the others are the same in all.
            without: item_index that are not to be among the others (in training: those asked for).
        """
        known = events.items[-self.prompts.history :]
        key = blake2b(np.ascontiguousarray(known, np.int64).tobytes(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(key, "little"))
        weights = self.weights.copy()
        weights[known] = 0.0
        # the n largest of log(uniform) / weight: weighted draws without replacement
        # (Efraimidis and Spirakis 2006)
        with np.errstate(divide="ignore"):
            keys = np.log(rng.random(len(weights))) / weights
        keys[list(without)] = -np.inf
        count = min(len(self.marks) - 1, int(np.isfinite(keys).sum()))
        others = np.argsort(-keys, kind="stable")[:count]
        shuffle = np.random.default_rng([permutation, *key])
        others = shuffle.permutation(others)
        parts = [self.prompts.sequence(events), self.choice]
        for item, mark in zip(others.tolist(), self.marks[:count], strict=True):
            parts += [mark, self.lines[item]]
        return Shown(np.concatenate(parts), others, self.answers[: count + 1], self.marks[count])

    def branch(self, shown: Shown, item: int) -> Tokens:
        """Token ids of the last line with ``item`` in it, and the cue."""
        return np.concatenate([shown.before, self.lines[item], self.cue])


def sampling_weights(data: Dataset, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(I,) float64: popularity to the power 0.75; items without an event count as one event."""
    counts = np.bincount(data.interactions.items, minlength=data.n_items)
    return np.where(allowed, np.maximum(counts, 1).astype(np.float64) ** _POPULARITY_POWER, 0.0)


def log_odds(logits: Floats, items: npt.NDArray[Any], others: npt.NDArray[Any]) -> Floats:
    """(C,) float32: log-odds of each candidate's labels against those of other items.

    Args:
        logits: (C, L); the last column is of the candidate's own place.
        items: (C,) item_index of the candidates.
        others: (L - 1,) item_index of the other places.

    >>> two = np.log(np.array([[1.0, 2.0, 3.0]]))  # its label 3, the others' 1 and 2
    >>> np.exp(log_odds(two, np.array([9]), np.array([4, 5]))).round(4).tolist()  # 3 / (1 + 2)
    [1.0]
    >>> np.exp(log_odds(two, np.array([4]), np.array([4, 5]))).round(4).tolist()  # (3 + 1) / 2
    [2.0]
    """
    own = np.column_stack([items[:, None] == others, np.ones(len(items), bool)])
    exact = logits.astype(np.float64)

    def total(which: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        kept = np.where(which, exact, -np.inf)
        top = kept.max(1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            summed: npt.NDArray[np.float64] = np.log(np.exp(kept - top).sum(1)) + top[:, 0]
        return summed

    against = total(~own)
    return np.where(np.isfinite(against), total(own) - against, 0.0).astype(np.float32)


def score_lists(
    reader: Reader,
    lists: Lists,
    histories: Sequence[Events],
    items: Sequence[npt.NDArray[np.integer[Any]]],
    *,
    longest: int,
    budget: int,
) -> list[Floats]:
    """The mean log-odds of every candidate over the lists' permutations.

    Args:
        reader: the model.
        lists: see there.
        histories: Q of them.
        items: Q arrays (C,) of item_index.
        longest: see `rankers.gpt_scoring.plan`.
        budget: likewise.

    Returns:
        Q arrays (C,) float32, higher is better; 0 = as likely as all the others together.
    """
    out = [np.zeros(len(row), np.float32) for row in items]
    for number in range(lists.permutations):
        shown = [lists.show(events, number) for events in histories]
        asked = [
            [lists.branch(one, i) for i in row.tolist()]
            for one, row in zip(shown, items, strict=True)
        ]
        stems = [one.stem for one in shown]
        labels = np.unique(np.concatenate([one.labels for one in shown]))
        for units in plan(reader, stems, asked, longest=longest, budget=budget, leaves=True):
            places, base = [], 0
            for unit in units:
                places.append(base + 1 + unit.tree.paths.max(1))
                base += 1 + len(unit.tree)
            found = reader.logits([u.branches for u in units], np.concatenate(places), labels)
            at = 0
            for unit in units:
                one = shown[unit.query]
                columns = np.searchsorted(labels, one.labels)
                own = found[at : at + len(unit.which)][:, columns]
                at += len(unit.which)
                row = items[unit.query][unit.which]
                out[unit.query][unit.which] += log_odds(own, row, one.others) / lists.permutations
    return out


def _answers(cue: str, labels: str, encode: Any) -> tuple[Tokens, Tokens]:
    """The cue as far as all answers share it, and each label's token after it."""
    whole = encode([f"{cue} {label}" for label in labels])
    stems = {tuple(tokens[:-1]) for tokens in whole}
    ends = [tokens[-1] for tokens in whole]
    if len(stems) != 1 or len(set(ends)) != len(labels) or not next(iter(stems)):
        raise ConfigError(
            explain(
                "gpt score: listwise",
                "a token of its own for each label after prompt.cue",
                f"{len(stems)} ways to go on after {cue!r}",
                "lower listwise.list_size, or change prompt.cue for this tokenizer",
            )
        )
    return np.array(next(iter(stems)), np.int64), np.array(ends, np.int64)
