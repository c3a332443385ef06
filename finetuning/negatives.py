"""Items that stand for what a user did not want: drawn by chance, or mined from other models.

All of it is NumPy: which negatives an example has is decided before any tensor exists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from finetuning.settings import HardNegatives
from fusion.candidates import Candidates
from fusion.data.dataset import Dataset
from fusion.errors import ConfigError, DataError, explain
from fusion.protocols import FitContext, Retriever
from fusion.queries import Queries
from fusion.ragged import Ragged, segment_rank, spans

__all__ = ["Sampler", "hard", "log_q", "met", "mixed"]

_TRIES = 8  # redraws before what is left is drawn from what is allowed, exactly
_BATCH = 1024  # queries that a model is asked at once


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws items with replacement, each with a chance of its own.

    Attributes:
        chances: (I,) float64, sum 1.
    """

    chances: npt.NDArray[np.float64]

    @classmethod
    def of(cls, weights: npt.ArrayLike) -> Sampler:
        """By ``weights`` (I,), not negative, with any sum above 0.

        Raises:
            DataError: they are nothing to draw by.
        """
        values = np.asarray(weights, dtype=np.float64)
        total = values.sum()
        if not (np.isfinite(total) and total > 0 and (values >= 0).all()):
            raise DataError(
                explain("Sampler", "weights from 0 on with a sum above 0", f"a sum of {total}")
            )
        return cls(values / total)

    @classmethod
    def by_popularity(
        cls,
        counts: npt.ArrayLike,
        *,
        power: float = 0.75,
        share: float = 1.0,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Sampler:
        """``share`` of the draws by popularity to a ``power``, the others uniform.

        The power of 3/4 is word2vec's (Mikolov et al. 2013, arXiv:1310.4546).

        Args:
            counts: (I,) events an item has.
            power: 0 = uniform, 1 = as popular as it is.
            share: of the draws by popularity.
            allowed: (I,) bool: items that may be drawn; all by default.
        """
        values = np.asarray(counts, dtype=np.float64)
        able = np.ones(len(values), bool) if allowed is None else allowed
        popular = np.where(able & (values > 0), np.maximum(values, 1e-300) ** power, 0.0)
        uniform = able.astype(np.float64)
        if popular.sum() == 0:
            return cls.of(uniform)
        return cls.of(
            share * popular / popular.sum() + (1 - share) * uniform / max(uniform.sum(), 1)
        )

    @property
    def log_q(self) -> npt.NDArray[np.float32]:
        """(I,) float32: log of the chances; -inf where an item is never drawn."""
        with np.errstate(divide="ignore"):
            return np.log(self.chances).astype(np.float32)

    def draw(
        self, rng: np.random.Generator, rows: int, count: int, *, avoid: Ragged | None = None
    ) -> npt.NDArray[np.int32]:
        """(rows, count) int32 item_index, drawn with replacement.

        Args:
            rng: what draws.
            rows: how many examples.
            count: how many items each.
            avoid: ``rows`` lists of items that the example may not have.

        Raises:
            DataError: an example may have no item at all.
        """
        edges = np.cumsum(self.chances)
        drawn = self._draws(rng, edges, rows * count)
        if avoid is None or not len(drawn):
            return drawn.reshape(rows, count)
        owner = np.repeat(np.arange(rows), count)
        width = len(self.chances)
        banned = np.unique(avoid.rows * width + avoid.values)
        for _ in range(_TRIES):
            again = np.flatnonzero(np.isin(owner * width + drawn, banned))
            if not len(again):
                return drawn.reshape(rows, count)
            drawn[again] = self._draws(rng, edges, len(again))
        wrong = np.isin(owner * width + drawn, banned)
        for row in np.unique(owner[wrong]):
            places = np.flatnonzero(wrong & (owner == row))
            drawn[places] = self._exactly(rng, avoid[row], len(places))
        return drawn.reshape(rows, count)

    def _draws(
        self, rng: np.random.Generator, edges: npt.NDArray[np.float64], count: int
    ) -> npt.NDArray[np.int32]:
        found = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
        return np.asarray(found, dtype=np.int32)

    def _exactly(
        self, rng: np.random.Generator, avoid: npt.NDArray[np.int32], count: int
    ) -> npt.NDArray[np.int32]:
        chances = self.chances.copy()
        chances[avoid] = 0.0
        if chances.sum() == 0:
            raise DataError(
                explain(
                    "negatives",
                    "an item that the user has not met",
                    f"{len(avoid)} met, and no other can be drawn",
                    "use more items, or leave such users out",
                )
            )
        return rng.choice(len(chances), count, p=chances / chances.sum()).astype(np.int32)


def log_q(counts: npt.ArrayLike, batch_size: int = 1) -> npt.NDArray[np.float32]:
    """(I,) float32: log of how often an item is expected in a batch of examples.

    For `finetuning.losses.in_batch`, where the negatives are the other examples' items, so that an
    item is drawn as often as it has events. What never occurs counts as half an event: it can
    only come in from elsewhere.

    Args:
        counts: (I,) events an item has among the examples.
        batch_size: a constant factor, which no softmax sees.
    """
    values = np.maximum(np.asarray(counts, dtype=np.float64), 0.5)
    return np.asarray(np.log(batch_size * values / values.sum()), dtype=np.float32)


def met(data: Dataset, queries: Queries, targets: npt.NDArray[np.integer]) -> Ragged:
    """What is no negative of each query: its history, its target, its user's events in ``data``."""
    known = np.flatnonzero(queries.users >= 0)
    users = queries.users[known]
    events = spans(data.offsets[users], np.diff(data.offsets)[users])
    owners = np.concatenate(
        [
            queries.history.rows,
            np.arange(len(queries)),
            np.repeat(known, np.diff(data.offsets)[users]),
        ]
    )
    items = np.concatenate([queries.history.values, targets, data.interactions.items[events]])
    keys = np.unique(owners * np.int64(data.n_items) + items)
    rows = keys // data.n_items
    offsets = np.searchsorted(rows, np.arange(len(queries) + 1)).astype(np.int64)
    return Ragged(offsets, (keys % data.n_items).astype(np.int32))


def hard(
    context: FitContext,
    data: Dataset,
    queries: Queries,
    targets: npt.NDArray[np.integer],
    settings: HardNegatives,
    rng: np.random.Generator,
) -> Ragged:
    """Each query's hard negatives: what other models would recommend, and the user never met.

    Of each model's list the first ``skip`` are left out, and, with a ``margin``, those whose score
    is above that share of the way from the lowest of the list to the target's own. Where a model
    has no score for the target, ``skip`` is its only guard.

    Args:
        context: with the models in ``fitted``; a component that calls this names them in `needs`.
        data: nothing that a user met here is a negative.
        queries: (Q) what was known.
        targets: (Q,) item_index that each query met next.
        settings: which models, how deep, and the guards.
        rng: puts each list into random order, so that a caller may take the first so many.

    Returns:
        ``Q`` lists of item_index without repetition, empty where no model has anything to say.

    Raises:
        ConfigError: a model is not there, or is not a retriever.
    """
    told = [
        _mined(_retriever(context, name), data, queries, targets, settings)
        for name in settings.models
    ]
    if not told:
        return Ragged.empty(len(queries))
    rows = np.concatenate([found.rows for found in told])
    items = np.concatenate([found.values for found in told])
    keys = rng.permutation(np.unique(rows * np.int64(data.n_items) + items))
    keys = keys[np.argsort(keys // data.n_items, kind="stable")]
    offsets = np.searchsorted(keys // data.n_items, np.arange(len(queries) + 1)).astype(np.int64)
    return Ragged(offsets, (keys % data.n_items).astype(np.int32))


def mixed(random: npt.NDArray[np.int32], mined: Ragged, share: float) -> npt.NDArray[np.int32]:
    """``random`` (Q, n) with ``share`` of each row replaced by the first of its ``mined`` list.

    A row with fewer hard negatives keeps random ones in their places.
    """
    count = round(share * random.shape[1])
    out = random.copy()
    taken = np.minimum(mined.lengths, count)
    place = spans(np.zeros(len(taken), np.int64), taken)
    out[np.repeat(np.arange(len(taken)), taken), place] = mined.values[
        spans(mined.offsets[:-1], taken)
    ]
    return out


def _retriever(context: FitContext, name: str) -> Retriever:
    model = context.fitted.get(name)
    if not isinstance(model, Retriever):
        known = [key for key, other in context.fitted.items() if isinstance(other, Retriever)]
        raise ConfigError(
            explain(
                "hard negatives",
                f"one of the fitted retrievers {', '.join(known) or '(none)'}",
                repr(name),
                "name retrievers of this configuration in hard_negatives.models",
            )
        )
    return model


def _mined(
    model: Retriever,
    data: Dataset,
    queries: Queries,
    targets: npt.NDArray[np.integer],
    settings: HardNegatives,
) -> Ragged:
    parts = [Ragged.empty(0)]
    for start in range(0, len(queries), _BATCH):
        which = np.arange(start, min(start + _BATCH, len(queries)))
        some = queries.take(which)
        parts.append(_mined_batch(model, data, some, targets[which], settings))
    return Ragged.concatenate(parts)


def _mined_batch(
    model: Retriever,
    data: Dataset,
    queries: Queries,
    targets: npt.NDArray[np.integer],
    settings: HardNegatives,
) -> Ragged:
    known = met(data, queries, targets)
    found = model.retrieve(replace(queries, excluded=known), settings.depth)
    scores = found.scores[:, 0]
    _, rank = segment_rank(found.offsets, (found.items, -scores))
    keep = rank > settings.skip
    if settings.margin is not None:
        own = Candidates.bare(np.arange(len(queries) + 1), targets.astype(np.int32))
        positive = model.score(queries, own).values.astype(np.float64)
        lowest = np.full(len(queries), np.inf)
        np.minimum.at(lowest, found.rows, scores)
        ceiling = lowest + settings.margin * (positive - lowest)
        # no score of the target, no ceiling
        keep &= ~(scores > ceiling[found.rows])
    kept = found.where(keep)
    return Ragged(kept.offsets, kept.items)
