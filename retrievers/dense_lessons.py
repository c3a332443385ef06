"""From events to the batches of a training: drawn, weighted, with their negatives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fusion.data.dataset import Dataset
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from retrievers.dense_batches import Augment, Batches, log_inclusion
from retrievers.dense_config import DenseConfig
from retrievers.dense_examples import Examples, draw_examples
from retrievers.dense_reading import Reader
from retrievers.encoder import Encoder

__all__ = ["Lessons"]

#: texts encoded at once in training: like lengths pad less, on a GPU few large passes cost less
_GROUP, _GROUP_GPU = 32, 256


class Lessons:
    """The batches of every run of a training.

    Args:
        config: of the retriever.
        encoder: to be trained.
        data: the events to learn from, and from which histories are made.
        readable: (I,) bool: items that have text.
        count: examples at most.
        context: with the models that hard negatives are mined from.

    Raises:
        ConfigError: the augmentation names a file or a function that is no good.
    """

    def __init__(
        self,
        config: DenseConfig,
        encoder: Encoder,
        data: Dataset,
        readable: npt.NDArray[np.bool_],
        count: int,
        context: FitContext,
    ) -> None:
        from finetuning.augmentation import TextAugmenter

        self._config, self._encoder, self._data = config, encoder, data
        self._readable, self._asked, self._context = readable, count, context
        self._rewrite = TextAugmenter(config.train.augmentation)
        able = readable[data.interactions.items]
        users = data.interactions.users[able]
        #: examples that there will be
        self.count = min(count, config.train.epochs * int(len(users) - len(np.unique(users))))

    def reader(self, seed: int) -> Reader:
        """The batches of the run with this seed, ready for the Trainer."""
        from finetuning.propensity import weights

        config, recipe, data = self._config, self._config.train, self._data
        mean = config.user != "text"
        examples = draw_examples(
            data,
            self._readable,
            count=self._asked,
            epochs=recipe.epochs,
            reads=recipe.history if mean else config.texts,
            together=recipe.together if mean else 1,
            rng=np.random.default_rng([seed, 0]),
        )
        size = min(recipe.batch_size, len(examples))
        return Reader(
            batches=Batches(
                examples=examples,
                size=size,
                met=data.histories,
                share_history=mean,
                seed=seed,
                hard=self._hard(examples, seed),
                hard_share=recipe.hard_negatives.share,
                weights=weights(data.popularity, recipe.propensity),
                augment=self._augment(),
            ),
            encoder=self._encoder,
            texts=data.catalog.texts,
            user="mean" if mean else "text",
            half_life=config.half_life,
            count=config.texts,
            item_tokens=config.item_tokens,
            user_tokens=config.user_tokens,
            log_q=recipe.logq * log_inclusion(data.popularity, size),
            group=_GROUP_GPU if self._encoder.model.device.type == "cuda" else _GROUP,
            rewrite=self._rewrite if self._rewrite.changes else None,
            seed=seed,
        )

    def _hard(self, examples: Examples, seed: int) -> Ragged | None:
        settings = self._config.train.hard_negatives
        if settings.share == 0:
            return None
        from finetuning.negatives import hard

        data = self._data
        known = data.queries_before(examples.users.astype(np.int64), examples.rows)
        rng = np.random.default_rng([seed, 2])
        found = hard(self._context, data, known, examples.targets, settings, rng)
        readable = self._readable[found.values]
        kept = np.concatenate([[0], np.cumsum(readable)]).astype(np.int64)
        return Ragged(kept[found.offsets], found.values[readable])

    def _augment(self) -> Augment | None:
        settings = self._config.train.augmentation
        if not (settings.crop or settings.mask or settings.reorder):
            return None
        from finetuning.augmentation import positions

        return lambda history, rng: history[positions(len(history), settings, rng)]
