"""One step of training: which events, which negatives, and the loss."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from retrievers.sequential_batches import Windows
from retrievers.sequential_config import NextItemTraining
from retrievers.sequential_loss import gbce, sampled_softmax, softmax

__all__ = ["Foretelling", "Lesson", "Steps"]


class Steps(torch.utils.data.Dataset):  # type: ignore[misc]
    """What each step learns from; step ``i`` is the same whenever it is asked for.

    Args:
        windows: the events.
        weights: (I,) float64, how likely an item is drawn as a negative; 0 = never.
        settings: the recipe.
        steps: how many steps.
        seed: of negatives and of which items stand for their text alone.
        text_only: share of the items that do.
    """

    def __init__(
        self,
        windows: Windows,
        weights: npt.NDArray[np.float64],
        settings: NextItemTraining,
        steps: int,
        seed: int,
        text_only: float,
    ) -> None:
        self._windows, self._settings, self._steps, self._seed = windows, settings, steps, seed
        self._text_only = text_only
        self._cumulative = np.cumsum(weights) / weights.sum()
        self._per_epoch = windows.batches()
        self._epoch = -1
        self._batches: list[Any] = []

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        epoch, at = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, list(self._windows.epoch(epoch))
        batch = self._batches[at]
        rng = np.random.default_rng([self._seed, step])
        drawn = np.searchsorted(self._cumulative, rng.random(self._settings.negatives), "right")
        keep = rng.random(len(self._cumulative)) >= self._text_only
        return {
            "items": torch.from_numpy(batch.items),
            "gaps": torch.from_numpy(batch.gaps),
            "mask": torch.from_numpy(batch.mask),
            "negatives": torch.from_numpy(np.minimum(drawn, len(self._cumulative) - 1)),
            "keep": torch.from_numpy(keep.astype(np.float32)),
        }


class Foretelling(Protocol):
    """A network over items, as `retrievers.sequential_model.Network` is one."""

    @property
    def texts(self) -> Tensor | None:
        """Vectors of the items' texts, where they are read."""

    def table(self, keep: Tensor | None = None) -> Tensor:
        """(W, size): every item's embedding; ``keep`` (W,) = which vectors of their own count."""

    def __call__(self, items: Tensor, gaps: Tensor, table: Tensor) -> Tensor:
        """(B, T, size): what is foretold after each event, to be multiplied with ``table``."""


class Lesson(nn.Module):  # type: ignore[misc]
    """The network and the loss of one step: what the Trainer calls.

    Args:
        network: what is trained.
        weights: (I,) float64 as for `Steps`; items of weight 0 are no negatives.
        settings: the recipe.
    """

    def __init__(
        self, network: Foretelling, weights: npt.NDArray[np.float64], settings: NextItemTraining
    ) -> None:
        super().__init__()
        self.network, self.settings = network, settings
        share = torch.from_numpy(weights / weights.sum())
        self.register_buffer("log_q", torch.log(share).float(), persistent=False)
        self.met = int((weights > 0).sum())
        auto = "softmax" if self.met <= settings.negatives else "sampled_softmax"
        self.loss = auto if settings.loss == "auto" else settings.loss

    def forward(
        self, items: Tensor, gaps: Tensor, mask: Tensor, negatives: Tensor, keep: Tensor
    ) -> dict[str, Tensor]:
        """``{"loss": scalar}``: every event but the first of a window is foretold."""
        table = self.network.table(keep if self.network.texts is not None else None)
        known = self.network(items[:, :-1], gaps[:, :-1], table)
        foretold = mask[:, 1:]
        states, targets = known[foretold], items[:, 1:][foretold]
        settings = self.settings
        if self.loss == "softmax":
            loss = softmax(states, targets, table, self.log_q > -torch.inf)
        elif self.loss == "sampled_softmax":
            loss = sampled_softmax(states, targets, table, negatives, self.log_q, settings.logq)
        else:
            share = min(1.0, len(negatives) / max(self.met - 1, 1))
            loss = gbce(states, targets, table, negatives, share, settings.calibration)
        return {"loss": loss}
