"""The ways of scoring, each with what it keeps of the catalogue between requests.

What is kept (`Mode.memory`) depends on the weights and the items only: it is filled as it is asked
for, saved with the model and thrown away when the weights change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from fusion.errors import ConfigError, explain
from fusion.work import timed
from rankers.gpt_config import GptConfig
from rankers.gpt_embedding import cosines, encode
from rankers.gpt_lists import Lists, score_lists
from rankers.gpt_prompt import Prompts
from rankers.gpt_reader import Reader
from rankers.gpt_rendering import Events
from rankers.gpt_scoring import likelihoods, yes_no

__all__ = ["Embedding", "Likelihood", "Listwise", "Mode", "YesNo", "mode_of"]

Floats = npt.NDArray[np.float32]
Items = Sequence[npt.NDArray[np.integer[Any]]]


def mode_of(
    config: GptConfig,
    data: Dataset,
    tokenizer: Any,
    *,
    first: Sequence[int] = (),
    texts: Sequence[str] | None = None,
) -> Mode:
    """The way of scoring that ``config`` names, over the items of ``data``.

    Args:
        config: the ranker's.
        data: the catalogue, and how popular its items are.
        tokenizer: of the base model.
        first: token ids before everything else: those of prompt tuning.
        texts: one an item, instead of the catalogue's.
    """
    field, wording = config.item_text, config.prompt
    prompts = Prompts.of(data.catalog, field, wording, tokenizer, first=first, texts=texts)
    room = (prompts, config.longest_row, config.batch_tokens)
    if config.score == "yes_no":
        return YesNo(*room)
    if config.score == "embedding":
        return Embedding(*room, config.embedding.pooling, config.embedding.center)
    if config.score == "listwise":
        lists = Lists.of(prompts, data, field, wording, config.listwise, tokenizer, texts)
        return Listwise(*room, lists)
    return Likelihood(*room, config.unconditional)


class Mode(ABC):
    """One way of scoring.

    Args:
        prompts: the catalogue in tokens.
        longest: tokens of one query in a pass before its candidates are cut.
        budget: tokens of a pass.

    Attributes:
        key: name of the memory in its file.
        lists: of `Listwise`; ``None`` elsewhere.
    """

    key: ClassVar[str] = "mean"
    lists: Lists | None = None

    def __init__(self, prompts: Prompts, longest: int, budget: int) -> None:
        self.prompts, self.longest, self.budget = prompts, longest, budget

    @property
    def positions(self) -> int:
        """The most positions that a history with a candidate may take."""
        return self.prompts.longest

    def check(self, model: Any, who: str) -> None:
        """See that the longest prompt fits into ``model``; ``who`` complains if it does not.

        Raises:
            ConfigError: it does not.
        """
        names = ("max_position_embeddings", "sliding_window")  # attention is to the whole prompt
        limits = [getattr(model.config, name, None) for name in names]
        context = min((limit for limit in limits if limit is not None), default=None)
        if context is not None and self.positions > context:
            raise ConfigError(
                explain(
                    who,
                    f"a prompt of at most {context} tokens (the model's context)",
                    f"up to {self.positions}",
                    "lower prompt.history, prompt.max_item_tokens or listwise.list_size",
                )
            )

    def memory(self, size: int) -> Floats:
        """What is known of the catalogue at first; NaN = not computed.

        Args:
            size: numbers of a hidden state.
        """
        return np.full(len(self.prompts.items), np.nan, np.float32)

    def missing(self, memory: Floats) -> npt.NDArray[np.int64]:
        """(K,) item_index of what `fill` had better compute before requests come."""
        return np.empty(0, np.int64)

    def fill(  # noqa: B027 - most keep nothing
        self, reader: Reader, items: npt.NDArray[np.integer[Any]], memory: Floats
    ) -> None:
        """Compute what is kept of ``items`` (not empty)."""

    def tried(self, reader: Reader, histories: Sequence[Events], items: Items) -> list[Floats]:
        """`scores` while the weights still change: nothing is kept, and no more read than asked."""
        return self.scores(reader, histories, items, self.memory(reader.size))

    @abstractmethod
    def scores(
        self, reader: Reader, histories: Sequence[Events], items: Items, memory: Floats
    ) -> list[Floats]:
        """Scores of ``items`` (Q arrays of item_index, all with a text) after ``histories``."""

    def _sequences(self, histories: Sequence[Events]) -> list[npt.NDArray[np.int64]]:
        with timed("prepare"):
            return [self.prompts.sequence(events) for events in histories]


class Likelihood(Mode):
    """See `rankers.gpt`; keeps each text's mean log-likelihood without a history, (I,)."""

    def __init__(self, prompts: Prompts, longest: int, budget: int, weight: float) -> None:
        super().__init__(prompts, longest, budget)
        self.weight = weight

    def missing(self, memory: Floats) -> npt.NDArray[np.int64]:
        """As `Mode.missing`."""
        if self.weight == 0:
            return np.empty(0, np.int64)
        return np.flatnonzero(self.prompts.has_text & np.isnan(memory))

    def fill(self, reader: Reader, items: npt.NDArray[np.integer[Any]], memory: Floats) -> None:
        """As `Mode.fill`."""
        texts = [[self.prompts.items[i] for i in items.tolist()]]
        (memory[items],) = likelihoods(
            reader, [self.prompts.header], texts, longest=self.longest, budget=self.budget
        )

    def scores(
        self, reader: Reader, histories: Sequence[Events], items: Items, memory: Floats
    ) -> list[Floats]:
        """As `Mode.scores`."""
        sequences = self._sequences(histories)
        texts = [[self.prompts.items[i] for i in row.tolist()] for row in items]
        found = likelihoods(reader, sequences, texts, longest=self.longest, budget=self.budget)
        weight = np.float32(self.weight)
        if weight == 0:
            return found
        wanted = np.unique(np.concatenate(items))
        wanted = wanted[np.isnan(memory[wanted])]
        if len(wanted):
            self.fill(reader, wanted, memory)
        return [one - weight * memory[row] for one, row in zip(found, items, strict=True)]


class YesNo(Mode):
    """Logit of yes less logit of no after a question about the item; keeps nothing."""

    def scores(
        self, reader: Reader, histories: Sequence[Events], items: Items, memory: Floats
    ) -> list[Floats]:
        """As `Mode.scores`."""
        asked = [[self.prompts.questions[i] for i in row.tolist()] for row in items]
        return yes_no(
            reader,
            self._sequences(histories),
            asked,
            self.prompts.answers,
            longest=self.longest,
            budget=self.budget,
        )


class Listwise(Mode):
    """See `rankers.gpt_lists`; keeps nothing."""

    lists: Lists

    def __init__(self, prompts: Prompts, longest: int, budget: int, lists: Lists) -> None:
        super().__init__(prompts, longest, budget)
        self.lists = lists

    @property
    def positions(self) -> int:
        """As `Mode.positions`."""
        return self.lists.longest

    def scores(
        self, reader: Reader, histories: Sequence[Events], items: Items, memory: Floats
    ) -> list[Floats]:
        """As `Mode.scores`."""
        return score_lists(
            reader, self.lists, histories, items, longest=self.longest, budget=self.budget
        )


class Embedding(Mode):
    """See `rankers.gpt_embedding`; keeps the items' vectors, (I, D)."""

    key: ClassVar[str] = "vectors"

    def __init__(
        self, prompts: Prompts, longest: int, budget: int, pooling: str, center: bool
    ) -> None:
        super().__init__(prompts, longest, budget)
        self.pooling, self.center = pooling, center

    def memory(self, size: int) -> Floats:
        """As `Mode.memory`."""
        return np.full((len(self.prompts.items), size), np.nan, np.float32)

    def missing(self, memory: Floats) -> npt.NDArray[np.int64]:
        """As `Mode.missing`."""
        return np.flatnonzero(self.prompts.has_text & np.isnan(memory[:, 0]))

    def fill(self, reader: Reader, items: npt.NDArray[np.integer[Any]], memory: Floats) -> None:
        """As `Mode.fill`."""
        memory[items] = self._encode(reader, [self.prompts.items[i] for i in items.tolist()])

    def scores(
        self, reader: Reader, histories: Sequence[Events], items: Items, memory: Floats
    ) -> list[Floats]:
        """As `Mode.scores`; the whole catalogue is read first where it was not yet.

        The mean that is taken away must not depend on who asked for what before.
        """
        wanted = self.missing(memory)
        if len(wanted):
            self.fill(reader, wanted, memory)
        return self._cosines(reader, histories, items, memory)

    def tried(self, reader: Reader, histories: Sequence[Events], items: Items) -> list[Floats]:
        """As `Mode.tried`; the mean is that of the items asked for."""
        memory = self.memory(reader.size)
        self.fill(reader, np.unique(np.concatenate(items)), memory)
        return self._cosines(reader, histories, items, memory)

    def _cosines(
        self, reader: Reader, histories: Sequence[Events], items: Items, memory: Floats
    ) -> list[Floats]:
        told = self._encode(reader, [self.prompts.told(events) for events in histories])
        return cosines(told, items, memory, self.center)

    def _encode(self, reader: Reader, texts: list[npt.NDArray[np.int64]]) -> Floats:
        return encode(
            reader,
            self.prompts.header,
            texts,
            self.pooling,
            longest=self.longest,
            budget=self.budget,
        )
