"""What the BERT ranker watches while it trains: the best weights, when to stop, how far it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

__all__ = ["Watch", "last_checkpoint"]


class Watch(TrainerCallback):  # type: ignore[misc]
    """Keeps the best weights, stops when they no longer improve, and shows how far it is.

    The Trainer's own best-checkpoint logic needs a save at every validation and does not count the
    state before the first step, which for a pretrained encoder may be the best one.
    """

    def __init__(self, patience: int, *, lower: bool, steps: int, show: bool) -> None:
        self._patience, self._sign, self._steps, self._show = (
            patience,
            -1 if lower else 1,
            steps,
            show,
        )
        self._best: dict[str, torch.Tensor] = {}
        self._values: list[float] = []
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        if self._show:
            from tqdm import tqdm

            self._bar = tqdm(total=self._steps, initial=state.global_step, desc="bert", leave=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar on."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, float],
        model: Any,
        **kwargs: Any,
    ) -> None:
        """Keep weights that are better than any before; stop when none were for too long."""
        value = metrics["eval_score"]
        if np.isnan(value):  # diverged
            value = -self._sign * np.inf
        if not self._values or self._sign * value > max(self._sign * v for v in self._values):
            self._best = {
                name: parameter.detach().cpu().clone()
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            }
        self._values.append(value)
        since = len(self._values) - 1 - int(np.argmax(self._sign * np.array(self._values)))
        control.should_training_stop |= since >= self._patience
        if self._bar is not None:
            self._bar.set_postfix(validation=f"{value:.4f}")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put what `read` needs into the Trainer's checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        save_file(self._best, folder / "best.safetensors")
        # the last file of a checkpoint: where it is, the others are complete
        (folder / "best.json").write_text(json.dumps(self._values), "utf-8")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def read(self, checkpoint: Path) -> None:
        """Go on from what `on_save` wrote."""
        self._best = load_file(checkpoint / "best.safetensors")
        self._values = json.loads((checkpoint / "best.json").read_text("utf-8"))

    def restore(self, net: torch.nn.Module) -> None:
        """Give ``net`` its best weights; the last ones where there was no validation."""
        if self._best:
            net.load_state_dict(self._best, strict=False)

    def report(self) -> dict[str, float]:
        """The first and the best value of the validations; nothing where there was none."""
        if not self._values:
            return {}
        best = max(self._values, key=lambda v: self._sign * v)
        return {"untrained": self._values[0], "validation": best}


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint in ``folder``."""
    found = [file.parent for file in folder.glob("checkpoint-*/best.json")]
    return max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
