"""What is watched while the network trains: the best weights, when to stop, how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from retrievers.sequential_config import SequentialTraining

__all__ = ["Watch"]

_BEST, _VALUES = "best.safetensors", "best.json"


class Watch(TrainerCallback):  # type: ignore[misc]
    """Looks at the validation every so many steps, keeps the best weights, keeps the time.

    Args:
        network: what is trained.
        evaluate: its NDCG, higher is better; ``None`` = the last weights are the best.
        every: steps between two looks.
        steps: how many there are to be.
        recipe: patience and seconds.
        name: to show a bar by; empty = none.
    """

    def __init__(
        self,
        network: nn.Module,
        evaluate: Callable[[], float] | None,
        every: int,
        steps: int,
        recipe: SequentialTraining,
        name: str,
    ) -> None:
        self._network, self._evaluate, self._recipe = network, evaluate, recipe
        self._every, self._steps, self._name = every, steps, name
        self._weights: dict[str, torch.Tensor] = {}
        self._step = 0
        self._bar: Any = None
        self.values: list[float] = []

    def find(self, folder: Path) -> Path | None:
        """The newest complete checkpoint in ``folder``, whose best weights are taken over."""
        found = [file.parent for file in folder.glob(f"checkpoint-*/{_VALUES}")]
        if not found:
            return None
        newest = max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]))
        self.values = json.loads((newest / _VALUES).read_text("utf-8"))
        if self.values:
            self._weights = load_file(newest / _BEST)
        return newest

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock and the bar."""
        self._started = time.monotonic()
        if self._name:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._steps, initial=state.global_step, desc=self._name, leave=False
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Move the bar on, look if it is time to, and stop if it no longer gets better."""
        self._step = state.global_step
        if self._bar is not None:
            self._bar.update(self._step - self._bar.n)
        if self._step % self._every == 0 or self._step == self._steps:
            self._look()
        since = len(self.values) - 1 - self._best if self.values else 0
        limit = self._recipe.max_seconds
        late = limit is not None and time.monotonic() - self._started > limit
        if since >= self._recipe.patience or late:
            control.should_training_stop = True
        return control

    @property
    def _best(self) -> int:
        return self.values.index(max(self.values))

    def _look(self) -> None:
        if self._evaluate is None:
            return
        self._network.eval()
        self.values.append(round(self._evaluate(), 5))
        self._network.train()
        if self._best == len(self.values) - 1:
            self._weights = {k: v.clone() for k, v in self._network.state_dict().items()}
        if self._bar is not None:
            self._bar.set_postfix(ndcg=f"{self.values[-1]:.4f}")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the best weights into the Trainer's checkpoint; the list of values comes last."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self.values:
            save_file(self._weights, folder / _BEST)
        (folder / _VALUES).write_text(json.dumps(self.values), "utf-8")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def finish(self) -> int:
        """Give the network its best weights; returns after how many steps it had them."""
        if not self._weights:
            return self._step
        self._network.load_state_dict(self._weights)
        return min((self._best + 1) * self._every, self._step)
