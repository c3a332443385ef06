"""A causal LM, asked for what it thinks comes next at chosen places of packed sequences."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fusion.errors import ConfigError, explain
from rankers.packing import Packed, attention_mask, pack

if TYPE_CHECKING:
    import torch

__all__ = ["Reader"]

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
#: rows of the head computed at once: 512 x 49,152 float32 logits are 100 MB
_HEAD_ROWS = 512


class Reader:
    """A causal LM of Hugging Face transformers, asked for logits at chosen places.

    Args:
        model: the LM, in evaluation mode. LoRA layers may be put inside afterwards.

    Raises:
        ConfigError: the model cannot be packed: a candidate's hidden states change with its
            neighbours (recurrent layers, position biases that ignore ``position_ids``...), or its
            hidden states are not finite.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.decoder = model.base_model
        self.head = model.get_output_embeddings()
        self.plain = True
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._check()

    def hidden(self, packed: Packed) -> torch.Tensor:
        """(B * T, D): the last hidden states, row after row."""
        out = self.decoder(**self._inputs(packed)).last_hidden_state
        return out.reshape(-1, out.shape[-1])

    def logits(self, packed: Packed, rows: torch.Tensor) -> torch.Tensor:
        """(R, V) logits after the places ``rows`` (R,) of the flattened batch."""
        if self.plain:
            return self.head(self.hidden(packed)[rows])
        out = self.model(**self._inputs(packed)).logits
        return out.reshape(-1, out.shape[-1])[rows]

    def log_likelihood(self, packed: Packed, rows: Tokens, targets: Tokens) -> Floats:
        """(R,) float32: log-probability of token ``targets`` (R,) after place ``rows`` (R,)."""
        import torch

        # Several candidates go on from one place (the history's end): its softmax is taken once.
        unique, inverse = np.unique(rows, return_inverse=True)
        place = torch.from_numpy(inverse).to(self.device)
        target = torch.from_numpy(targets).to(self.device)
        if not self.plain:
            logits = self.logits(packed, torch.from_numpy(unique).to(self.device)).float()
            return self._numpy(logits[place, target] - logits.logsumexp(1)[place])
        hidden = self.hidden(packed)[torch.from_numpy(unique).to(self.device)]  # (U, D)
        total = torch.cat(
            [self.head(part).float().logsumexp(1) for part in hidden.split(_HEAD_ROWS)]
        )
        # bfloat16 logits of this size are multiples of 1/8; the one that counts is taken exactly.
        weight, bias = self.head.weight[target].float(), getattr(self.head, "bias", None)
        exact = (hidden[place].float() * weight).sum(1)  # (R, D) -> (R,)
        if bias is not None:
            exact = exact + bias[target].float()
        return self._numpy(exact - total[place])

    def answer(self, packed: Packed, rows: Tokens, yes: int, no: int) -> torch.Tensor:
        """(R,) float32: logit of ``yes`` less logit of ``no`` after place ``rows`` (R,)."""
        import torch

        place = torch.from_numpy(rows).to(self.device)
        if not self.plain:
            logits = self.logits(packed, place).float()
            return logits[:, yes] - logits[:, no]
        hidden = self.hidden(packed)[place].float()  # (R, D)
        weight, bias = self.head.weight, getattr(self.head, "bias", None)
        out = hidden @ (weight[yes].float() - weight[no].float())
        return out if bias is None else out + (bias[yes] - bias[no]).float()

    def _inputs(self, packed: Packed) -> dict[str, Any]:
        import torch

        segments = torch.from_numpy(packed.segments).to(self.device)
        return {
            "input_ids": torch.from_numpy(packed.tokens).to(self.device),
            "position_ids": torch.from_numpy(packed.positions).to(self.device),
            "attention_mask": attention_mask(segments, causal=True, dtype=self.dtype),
            "use_cache": False,
        }

    @staticmethod
    def _numpy(values: torch.Tensor) -> Floats:
        return np.asarray(values.cpu().numpy(), np.float32)

    def _check(self) -> None:
        import torch

        name = type(self.model).__name__
        if "position_ids" not in inspect.signature(self.decoder.forward).parameters:
            raise ConfigError(
                explain(f"gpt with {name}", "a causal LM that takes position_ids", "none",
                        "choose a model with rotary or absolute positions")
            )  # fmt: skip
        v = min(self.head.weight.shape[0], 97)
        history, first, second = (
            [1 % v, 5 % v, 7 % v],
            [11 % v, 13 % v, 2 % v],
            [3 % v, 17 % v, 19 % v],
        )
        both, alone = pack([history], [[first, second]], 0), pack([history + second], [[]], 0)
        with torch.inference_mode():
            packed, single = self.hidden(both)[-3:].float(), self.hidden(alone)[-3:].float()
            rows = torch.arange(6, device=self.device)
            given = self.model(**self._inputs(alone)).logits.reshape(6, -1)[rows].float()
            self.plain = torch.allclose(self.head(self.hidden(alone)).float(), given, 1e-3, 1e-3)
        if not single.isfinite().all():
            raise ConfigError(
                explain(f"gpt with {name}", "finite hidden states", "NaN or infinity",
                        "if it was just trained, lower training.learning_rate")
            )  # fmt: skip
        slack = 0.1 if self.dtype != torch.float32 else 1e-3
        if not (packed - single).norm() <= slack * single.norm():
            raise ConfigError(
                explain(f"gpt with {name}", "attention that obeys a block mask", "another",
                        "choose a model with full attention and rotary or absolute positions")
            )  # fmt: skip
