"""Which moments the BERT ranker trains and validates on, against which items, how much each counts.

Negatives are sampled; where the settings name models for it, a share of them is taken from what
those models rank high at that moment (`finetuning.negatives.hard`: never an item that the user met,
nor one that the guard against false negatives leaves out).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from finetuning.negatives import hard, mixed
from finetuning.propensity import weights
from fusion.data.dataset import Dataset
from fusion.protocols import FitContext
from fusion.ragged import Ragged, segment_rank
from rankers.bert_config import Config
from rankers.bert_examples import (
    NO_ITEM,
    Events,
    Examples,
    Negatives,
    next_items,
    next_ratings,
)
from rankers.bert_text import Texts

__all__ = ["draw_examples", "draw_training", "draw_validation", "with_hard"]

#: mean and standard deviation of the ratings
Scale = tuple[float, float]


def draw_examples(
    events: Events,
    data: Dataset,
    texts: Texts,
    config: Config,
    rng: np.random.Generator,
    steps: int,
    *,
    context: FitContext | None = None,
    scale: Scale = (0.0, 1.0),
) -> tuple[Examples, Examples]:
    """Training examples in random order, and validation examples; see the two below."""
    training = draw_training(events, data, texts, config, rng, steps, context=context, scale=scale)
    return training, draw_validation(events, data, texts, config, rng, scale=scale)


def draw_training(
    events: Events,
    data: Dataset,
    texts: Texts,
    config: Config,
    rng: np.random.Generator,
    steps: int,
    *,
    context: FitContext | None = None,
    scale: Scale = (0.0, 1.0),
) -> Examples:
    """Examples for ``steps`` optimizer steps, in random order.

    Args:
        events: of ``data``.
        data: whose items are drawn as negatives.
        texts: only items with text are drawn.
        config: the recipe.
        rng: draws.
        steps: of ``config.batch_size`` examples, ``config.optimization.accumulate`` times each.
        context: holds the models that hard negatives are mined from; needed for those only.
        scale: what ratings are standardised by.
    """
    count = steps * config.batch_size * config.optimization.accumulate
    passes = math.ceil(count / len(events.train))
    rows = np.concatenate([rng.permutation(events.train) for _ in range(passes)])[:count]
    if config.head == "rating":
        ends = events.ends[rows]
        examples = next_ratings(_standardized(events, scale), rows, ends, 1 + config.negatives)
        return _weighted(examples, data, config)
    drawn = _negatives(data, texts, config).draw(events.users[rows], config.negatives, rng)
    if config.hard_negatives.share > 0 and context is not None:
        drawn = with_hard(drawn, events, data, texts, rows, config, context, rng)
    examples = next_items(events, rows, drawn)
    if config.head == "multi_task":
        ratings = np.full(examples.items.shape, np.nan, np.float32)
        ratings[:, 0] = _standardized(events, scale).ratings[rows]
        examples = replace(examples, ratings=ratings)
    return _weighted(examples, data, config)


def draw_validation(
    events: Events,
    data: Dataset,
    texts: Texts,
    config: Config,
    rng: np.random.Generator,
    *,
    scale: Scale = (0.0, 1.0),
) -> Examples:
    """The held-out event of each validation user, against sampled items; or its rating alone."""
    held = events.validation
    if config.head == "rating":
        return next_ratings(_standardized(events, scale), held, held + 1, 1)
    drawn = _negatives(data, texts, config).draw(
        events.users[held], config.validation_candidates, rng
    )
    return next_items(events, held, drawn)


def with_hard(
    drawn: npt.NDArray[np.int32],
    events: Events,
    data: Dataset,
    texts: Texts,
    rows: npt.NDArray[np.int64],
    config: Config,
    context: FitContext,
    rng: np.random.Generator,
) -> npt.NDArray[np.int32]:
    """``drawn`` (E, n) with its first places taken by hard negatives, a share of ``n`` at most.

    Fewer where fewer were found at that moment; a moment without any keeps what was sampled.
    """
    settings = config.hard_negatives
    moments, at = np.unique(rows, return_inverse=True)
    queries = data.queries_before(events.users[moments], events.origin[moments])
    mined = hard(context, data, queries, events.items[moments], settings, rng)
    mined = _readable(mined, texts.known).take(at)
    # a moment that is drawn again gets others of its list
    order, _ = segment_rank(mined.offsets, (rng.random(len(mined.values)),))
    out = mixed(drawn, Ragged(mined.offsets, mined.values[order]), settings.share)
    filled_first = np.argsort(out == NO_ITEM, axis=1, kind="stable")
    return np.take_along_axis(out, filled_first, axis=1)


def _readable(mined: Ragged, known: npt.NDArray[np.bool_]) -> Ragged:
    """The items of each list that have text."""
    good = known[mined.values]
    lengths = np.bincount(mined.rows, good, minlength=len(mined)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(offsets, mined.values[good])


def _negatives(data: Dataset, texts: Texts, config: Config) -> Negatives:
    return Negatives(
        data, texts.known, popular=config.popular_negatives, power=config.popularity_power
    )


def _standardized(events: Events, scale: Scale) -> Events:
    mean, spread = np.float32(scale[0]), np.float32(scale[1])
    return replace(events, ratings=(events.ratings - mean) / spread)


def _weighted(examples: Examples, data: Dataset, config: Config) -> Examples:
    """The examples with inverse-propensity weights where the settings ask for them.

    A moment counts by the item met next, its negatives likewise, so that no score is pushed up or
    down by the weights alone; a rating counts by its own item.
    """
    if config.propensity.power == 0:
        return examples
    each = weights(data.popularity, config.propensity)
    items = examples.items if config.head == "rating" else examples.items[:, :1]
    found = np.broadcast_to(each[items], examples.items.shape)
    return replace(examples, weights=np.ascontiguousarray(found, np.float32))
