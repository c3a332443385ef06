"""What fine-tuning of the causal LM minimises, one class an objective.

Each takes a batch of `collate` and gives the loss (a scalar) and what it was told by the model,
for R-Drop. Questions, lists and vectors are read under the mask they are asked with later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from rankers.gpt_embedding import pooled
from rankers.gpt_reader import Reader
from rankers.gpt_rows import Example
from rankers.gpt_scoring import last_places
from rankers.packing import Packed, pack

if TYPE_CHECKING:
    import torch

__all__ = ["Both", "Contrastive", "Likelihood", "Objective", "Questions", "Rating", "collate"]

Batch = Mapping[str, Any]
_IGNORED = -100  # the label that cross-entropy leaves out, by torch's default


class Objective(Protocol):
    """What a batch is worth."""

    @property
    def divergence(self) -> str:
        """What two passes were told, for R-Drop: ``lists`` of logits, or ``single`` ones."""

    def __call__(self, model: Any, reader: Reader, batch: Batch) -> tuple[torch.Tensor, Any]:
        """The loss, and the logits it is made of."""


def collate(rows: Sequence[Example]) -> dict[str, Any]:
    """A batch of tensors; of both kinds of examples where there are both.

    ``tokens``, ``positions`` and ``segments`` (B, T); ``labels`` (B, T): the token itself where it
    is to be predicted, the label at the end of a question, else -100 (likelihood), NaN
    (questions); ``weights`` (B, T) float32 where examples are weighted; ``items`` (B,) int64 and
    ``ids`` (B, L) int64 where examples have them.
    """
    asked = [row for row in rows if row.labels]
    told = [row for row in rows if not row.labels]
    if asked and told:
        first, second = collate(told), collate(asked)
        return {"told": first, "asked": second}
    return _collate(rows)


def _collate(rows: Sequence[Example]) -> dict[str, Any]:
    import torch

    packed = pack(
        [row.history.tolist() for row in rows],
        [[item.tolist() for item in row.candidates] for row in rows],
        0,
    )
    labels: npt.NDArray[Any]
    if rows[0].labels:
        labels = np.full(packed.tokens.size, np.nan, np.float32)
        labels[last_places(packed)] = np.concatenate([row.labels for row in rows])
        labels = labels.reshape(packed.tokens.shape)
    else:
        labels = np.where(packed.segments > 0, packed.tokens, _IGNORED)
    arrays: dict[str, npt.NDArray[Any]] = {
        "tokens": packed.tokens,
        "positions": packed.positions,
        "segments": packed.segments,
        "labels": labels,
    }
    if any(row.weights is not None for row in rows):
        weights = np.ones(packed.tokens.shape, np.float32)
        for b, row in enumerate(rows):
            if row.weights is not None:
                start = len(row.history)
                weights[b, start : row.size] = row.weights
        arrays["weights"] = weights
    if rows[0].items:
        arrays["items"] = np.array([row.items[0] for row in rows], np.int64)
    if rows[0].ids is not None:
        arrays["ids"] = np.stack([row.ids for row in rows if row.ids is not None])
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _packed(batch: Batch) -> Packed:
    return Packed(*(batch[k].cpu().numpy() for k in ("tokens", "positions", "segments")))


class Likelihood:
    """Cross-entropy of the texts' tokens, weighted by the items' propensities where they have any.

    Padding stands on the right, where no causal token looks: no mask is needed.
    """

    divergence: ClassVar[str] = "lists"

    def __init__(self, keep: bool = False) -> None:
        """``keep``: give the logits, too, which for a large vocabulary are large."""
        self.keep = keep

    def __call__(self, model: Any, reader: Reader, batch: Batch) -> tuple[torch.Tensor, Any]:
        """As `Objective`; logits (R, V) of the R tokens that are predicted."""
        import torch

        tokens, labels = batch["tokens"], batch["labels"]
        given = {"input_ids": tokens, "position_ids": batch["positions"], "use_cache": False}
        if "weights" not in batch and not self.keep:
            return model(**given, labels=labels).loss, None
        logits = model(**given).logits[:, :-1].float()
        target = labels[:, 1:]
        asked = target != _IGNORED
        each = torch.nn.functional.cross_entropy(logits[asked], target[asked], reduction="none")
        if "weights" not in batch:
            return each.mean(), logits[asked]
        weight = batch["weights"][:, 1:][asked]
        return (each * weight).sum() / weight.sum(), logits[asked]


@dataclass(frozen=True)
class Questions:
    """Scores of the candidates of a question, and a loss over them.

    Attributes:
        loss: ``pointwise``, ``bpr``, ``ranknet``, ``softmax`` or ``lambda``.
        answers: token ids of yes and no; ``None`` = log-odds of a label of a list, whose ids the
            batch has.
    """

    loss: str
    answers: tuple[int, int] | None

    @property
    def divergence(self) -> str:
        """As `Objective`."""
        return "single" if self.loss == "pointwise" else "lists"

    def __call__(self, model: Any, reader: Reader, batch: Batch) -> tuple[torch.Tensor, Any]:
        """As `Objective`; logits (R,), or (B, C) with NaN where a row has fewer candidates."""
        import torch

        places, scores, labels = _ask(self.answers, reader, batch)
        rows = places // batch["tokens"].shape[1]
        weights = None
        if "weights" in batch:
            weights = batch["weights"].reshape(-1)[places]
        if self.loss == "pointwise":
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels, weights)
            return loss, scores
        column = batch["segments"].reshape(-1)[places] - 1
        shape = (len(batch["tokens"]), int(column.max()) + 1)
        table = scores.new_full(shape, 0.0).index_put((rows, column), scores)
        truth = scores.new_full(shape, torch.nan).index_put((rows, column), labels)
        each = None
        if weights is not None:  # of the item met, in the first column
            each = weights.new_ones(shape[0]).index_put((rows[column == 0],), weights[column == 0])
        loss = _losses()[self.loss](table, truth, each)
        return loss, table.masked_fill(truth.isnan(), torch.nan)


@dataclass(frozen=True)
class Rating:
    """Squared error of the chance of yes against the rating, from 0 to 1; needs no new head.

    Attributes:
        answers: token ids of yes and no.
    """

    answers: tuple[int, int]
    divergence: ClassVar[str] = "single"

    def __call__(self, model: Any, reader: Reader, batch: Batch) -> tuple[torch.Tensor, Any]:
        """As `Objective`."""
        places, scores, labels = _ask(self.answers, reader, batch)
        each = (scores.sigmoid() - labels) ** 2
        if "weights" not in batch:
            return each.mean(), scores
        weight = batch["weights"].reshape(-1)[places]
        return (each * weight).sum() / weight.sum(), scores


class Contrastive:
    """The item met among all those of the batch, by cosine; see `finetuning.losses.in_batch`.

    Args:
        pooling: see `rankers.gpt_embedding`.
        center: take the mean of the batch's items away, as of the catalogue's when scoring.
        scale: of the cosines.
        log_q: (I,) float32: log of how often an item turns up.
    """

    divergence: ClassVar[str] = "lists"

    def __init__(
        self, pooling: str, center: bool, scale: float, log_q: npt.NDArray[np.float32]
    ) -> None:
        self.pooling, self.center, self.scale, self.log_q = pooling, center, scale, log_q

    def __call__(self, model: Any, reader: Reader, batch: Batch) -> tuple[torch.Tensor, Any]:
        """As `Objective`; nothing is told."""
        import torch

        from finetuning.losses import in_batch

        segments = batch["segments"]
        flat = segments.reshape(-1)
        places = torch.nonzero(flat > 0)[:, 0]
        states = reader.states(_packed(batch), places.cpu().numpy())
        row = places // segments.shape[1]
        text = 2 * row + flat[places] - 1  # the history's text, then the item's
        vectors = pooled(states, text, 2 * len(segments), self.pooling)
        histories, items = vectors[0::2], vectors[1::2]
        if self.center:
            middle = items.mean(0, keepdim=True).detach() if len(items) > 2 else 0.0
            histories, items = histories - middle, items - middle
        weights = None
        if "weights" in batch:
            weights = batch["weights"][:, -1].new_zeros(len(segments))
            weights = weights.index_put((row,), batch["weights"].reshape(-1)[places])
        ids = batch["items"]
        log_q = torch.from_numpy(self.log_q).to(ids.device)[ids]
        loss = in_batch(histories, items, scale=self.scale, log_q=log_q, ids=ids, weights=weights)
        return loss, None


@dataclass(frozen=True)
class Both:
    """The likelihood of some rows and the questions of others, on one trunk.

    Attributes:
        told: of the first.
        asked: of the second.
        weight: of the second; the first counts 1.
    """

    told: Likelihood
    asked: Questions
    weight: float
    divergence: ClassVar[str] = "single"

    def __call__(self, model: Any, reader: Reader, batch: Batch) -> tuple[torch.Tensor, Any]:
        """As `Objective`; told of the questions only."""
        import torch

        from finetuning.losses import MultiTask

        parts = batch if "asked" in batch or "told" in batch else {_kind(batch): batch}
        losses, scores = {}, None
        if "told" in parts:
            losses["told"], _ = self.told(model, reader, parts["told"])
        if "asked" in parts:
            losses["asked"], scores = self.asked(model, reader, parts["asked"])
        tasks = MultiTask(
            {"told": "classification", "asked": "classification"},
            {"told": 1.0, "asked": self.weight},
        )
        total: torch.Tensor = tasks(losses)
        return total, torch.zeros(1, device=total.device) if scores is None else scores


def _kind(batch: Batch) -> str:
    return "asked" if batch["labels"].is_floating_point() else "told"


def _ask(
    answers: tuple[int, int] | None, reader: Reader, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Places (R,) in the flattened batch, scores (R,) and labels (R,) of all candidates."""
    import torch

    flat = batch["labels"].reshape(-1)
    places = torch.nonzero(~flat.isnan())[:, 0]
    packed, at = _packed(batch), places.cpu().numpy()
    if answers is not None:
        return places, reader.answer(packed, at, *answers), flat[places]
    ids = batch["ids"]
    known, column = torch.unique(ids.clamp(min=0), return_inverse=True)  # (L,), (B, L)
    logits = reader.chosen(packed, at, known.cpu().numpy())
    row = places // batch["tokens"].shape[1]
    logits = logits.gather(1, column[row].to(logits.device))  # (R, L)
    logits = logits.masked_fill((ids[row] < 0).to(logits.device), -torch.inf)
    return places, logits[:, -1] - logits[:, :-1].logsumexp(1), flat[places]


def _losses() -> dict[str, Callable[..., torch.Tensor]]:
    from finetuning.losses import bpr, lambda_loss, ranknet, softmax_listwise

    return {
        "bpr": bpr, "ranknet": ranknet, "softmax": softmax_listwise, "lambda": lambda_loss
    }  # fmt: skip
