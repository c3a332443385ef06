"""What is watched while a model is fine-tuned: the best weights, when to stop, how far it is.

The Trainer's own logic of best checkpoints needs a checkpoint at each look and does not count the
state before the first step, which for a pretrained model may be the best one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from fusion.errors import ArtifactError, explain

__all__ = ["Watch", "last_checkpoint", "ndcg"]

_WEIGHTS, _VALUES = "best.safetensors", "best.json"


def ndcg(scores: npt.ArrayLike, k: int = 10) -> float:
    """Mean NDCG at ``k`` of the candidate in place 0 among those of its row.

    With one relevant item it is 1 / log2(1 + rank), or 0 from rank ``k + 1`` on. A tie counts
    against the item, so that a constant score is worth nothing.

    Args:
        scores: (V, C), higher is better; NaN = no such candidate. A row whose place 0 is NaN
            counts 0.
        k: the cut.

    >>> round(ndcg([[2.0, 3.0, 1.0], [1.0, 1.0, 1.0]]), 4)  # ranks 2 and 3
    0.5655
    """
    values = np.asarray(scores, dtype=np.float64)
    known = np.where(np.isnan(values), -np.inf, values)
    rank = 1 + (known[:, 1:] >= known[:, :1]).sum(axis=1)
    gain = np.where(rank <= k, 1.0 / np.log2(rank + 1.0), 0.0)
    return float(np.where(np.isnan(values[:, 0]), 0.0, gain).mean()) if len(values) else 0.0


class Watch(TrainerCallback):  # type: ignore[misc]
    """Looks at a validation set every so many steps, keeps the best weights, and stops in time.

    Only weights that are trained are kept. They travel in the Trainer's checkpoints, so that a run
    that was killed and goes on ends with the same weights.

    Args:
        evaluate: the value of the model as it is, higher is better; asked in evaluation mode
            without gradients. ``None`` = no looks: the last weights stand.
        steps: optimizer steps at most.
        every: steps between two looks.
        patience: looks in a row without a better one before stopping.
        max_seconds: stop after so long; the result then depends on the machine's speed.
        bar: name of the progress bar; "" = none.

    Attributes:
        tell: takes ``{"validation": value}`` of each look, for the reported curves.
    """

    tell: Callable[[dict[str, float]], None] | None = None

    def __init__(
        self,
        evaluate: Callable[[], float] | None,
        *,
        steps: int,
        every: int,
        patience: int,
        max_seconds: float | None = None,
        bar: str = "",
    ) -> None:
        self._evaluate = evaluate
        self._steps, self._every, self._patience = steps, max(1, every), patience
        self._max_seconds, self._name = max_seconds, bar
        self._started = time.monotonic()
        self._best: dict[str, torch.Tensor] = {}
        self._curve: list[tuple[int, float]] = []
        self._last = 0
        self._bar: Any = None

    @property
    def curve(self) -> tuple[tuple[int, float], ...]:
        """(step, value) of every look, the first before training; -inf where it diverged."""
        return tuple(self._curve)

    @property
    def best_step(self) -> int:
        """The step whose weights `restore` gives: the last one where nothing was looked at."""
        return max(self._curve, key=lambda look: look[1])[0] if self._curve else self._last

    def report(self) -> dict[str, float]:
        """``steps`` taken, and ``untrained`` and best ``validation`` where there were looks."""
        found = {"steps": float(self._last)}
        if self._curve:
            best = max(value for _, value in self._curve)
            found |= {"untrained": self._curve[0][1], "validation": best}
        return found

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Open the bar; look once before the first step of a run that is not gone on with."""
        self._started, self._last = time.monotonic(), state.global_step
        if self._name:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._steps, initial=state.global_step, desc=self._name, leave=False
            )
        if not self._curve:
            self._look(model, state.global_step)

    def on_step_end(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Look where it is time to; stop where looks or seconds say so."""
        self._last = step = state.global_step
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
        if step % self._every == 0 or step == self._steps:
            self._look(model, step)
        late = (
            self._max_seconds is not None and time.monotonic() - self._started > self._max_seconds
        )
        if late or self._stale() >= self._patience:
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put what `read` needs into the Trainer's checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        save_file(self._best, folder / _WEIGHTS)
        # the last file of a checkpoint: where it is, the others are complete
        (folder / _VALUES).write_text(json.dumps(self._curve), "utf-8")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def read(self, checkpoint: Path) -> None:
        """Go on from what `on_save` wrote.

        Raises:
            ArtifactError: it was altered, or another version wrote it.
        """
        try:
            best = load_file(checkpoint / _WEIGHTS)
            looks = json.loads((checkpoint / _VALUES).read_text("utf-8"))
            curve = [(int(step), float(value)) for step, value in looks]
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise ArtifactError(
                explain(
                    f"checkpoint {checkpoint}",
                    "what this version writes",
                    f"{type(error).__name__}: {error}",
                    "remove the folder: the training then begins anew",
                )
            ) from error
        self._best, self._curve = best, curve

    def restore(self, model: torch.nn.Module) -> None:
        """Give ``model`` its best weights; nothing to do where nothing was looked at."""
        if self._best:
            model.load_state_dict(self._best, strict=False)

    def _look(self, model: Any, step: int) -> None:
        if self._evaluate is None:
            return
        training = model.training
        model.eval()
        with torch.no_grad():
            value = float(self._evaluate())
        model.train(training)
        if np.isnan(value):  # diverged
            value = -np.inf
        if not self._curve or value > max(known for _, known in self._curve):
            self._best = {
                name: parameter.detach().to("cpu", copy=True).contiguous()
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            }
        self._curve.append((step, value))
        if self.tell is not None:
            self.tell({"validation": value})
        if self._bar is not None:
            self._bar.set_postfix(validation=f"{value:.4f}")

    def _stale(self) -> int:
        values = [value for _, value in self._curve]
        return len(values) - 1 - int(np.argmax(values)) if values else -1


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in ``folder`` that a `Watch` wrote into."""
    found = [file.parent for file in folder.glob(f"checkpoint-*/{_VALUES}")]
    return max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
