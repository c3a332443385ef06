"""The last matrix of a causal LM, a fifth of the work at 49,152 tokens, on rows that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusion.work import count, linear_flops

if TYPE_CHECKING:
    import torch

__all__ = ["Head"]

#: rows and columns of the logits that exist at once: 512 x 4,096 float32 are 8 MB
_ROWS, _COLUMNS = 512, 4096


class Head:
    """From last hidden states to log-probabilities, never with all logits in memory.

    Args:
        model: a causal LM of transformers.

    Attributes:
        plain: whether the logits are the matrix times the state and nothing else. Where a model
            scales or caps them (Granite, Gemma), its own `forward` has to be asked for logits, and
            the methods are given those in the place of states.
    """

    def __init__(self, model: Any) -> None:
        self.module = model.get_output_embeddings()
        self.plain = True

    @property
    def size(self) -> int:
        """Tokens of the vocabulary."""
        return int(self.module.weight.shape[0])

    def log_likelihood(
        self, states: torch.Tensor, place: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """(R,) float32: log-probability of each target after a state.

        Args:
            states: (U, D) last hidden states, or (U, V) logits.
            place: (R,) int64: which state.
            target: (R,) int64 token ids.
        """
        count(flops=linear_flops(len(states), self.module.weight.numel()))
        if not self.plain:
            logits = states.float()
            return logits[place, target] - logits.logsumexp(1)[place]
        # bfloat16 logits of this size are multiples of 1/8; the one that counts is taken exactly.
        weight, bias = self.module.weight, getattr(self.module, "bias", None)
        exact = (states[place].float() * weight[target].float()).sum(1)  # (R, D) -> (R,)
        if bias is not None:
            exact = exact + bias[target].float()
        return exact - self._total(states)[place]

    def _total(self, states: torch.Tensor) -> torch.Tensor:
        """(U,) float32: log of the sum of the exponentiated logits, a tile at a time.

        The same two buffers serve every tile: fresh memory costs more than what is done in it.
        """
        import torch

        weight, bias = self.module.weight, getattr(self.module, "bias", None)
        total = torch.full((len(states),), -torch.inf, device=states.device)
        tile = states.new_empty(_ROWS * _COLUMNS)
        wide = torch.empty(_ROWS * _COLUMNS, device=states.device)
        for first in range(0, len(states), _ROWS):
            rows = states[first : first + _ROWS]
            for left in range(0, len(weight), _COLUMNS):
                columns = weight[left : left + _COLUMNS]
                shape = (len(rows), len(columns))
                logits = tile[: shape[0] * shape[1]].view(shape)
                torch.mm(rows, columns.t(), out=logits)
                exact = wide[: logits.numel()].view(shape).copy_(logits)
                if bias is not None:
                    exact.add_(bias[left : left + _COLUMNS])
                highest = exact.amax(1)
                summed = exact.sub_(highest[:, None]).exp_().sum(1).log_().add_(highest)
                here = total[first : first + _ROWS]
                torch.logaddexp(here, summed, out=here)
        return total

    def difference(self, states: torch.Tensor, yes: int, no: int) -> torch.Tensor:
        """(R,) float32: logit of ``yes`` less logit of ``no`` for ``states`` as above."""
        if not self.plain:
            logits = states.float()
            return logits[:, yes] - logits[:, no]
        weight, bias = self.module.weight, getattr(self.module, "bias", None)
        count(flops=linear_flops(len(states), weight.shape[1]))
        out = states.float() @ (weight[yes].float() - weight[no].float())
        return out if bias is None else out + (bias[yes] - bias[no]).float()

    def logits(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(R, L) float32: logits of ``tokens`` (L,) int64 for ``states`` (R, ...) as above."""
        if not self.plain:
            return states[:, tokens].float()
        weight, bias = self.module.weight, getattr(self.module, "bias", None)
        count(flops=linear_flops(len(states), len(tokens) * weight.shape[1]))
        out = states.float() @ weight[tokens].float().t()
        return out if bias is None else out + bias[tokens].float()
