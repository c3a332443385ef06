"""Which weights of a causal LM are trained, what is kept of them, and the plain model again.

What is kept apart is small wherever it can be: the adapters (LoRA, DoRA, IA3), the trained layers
alone (head, last), or the vectors before the header (prompt). The base model is then needed only by
its name and hash. With ``full`` all weights are the model's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from finetuning.settings import Tune
from fusion.errors import ArtifactError, ConfigError, explain

if TYPE_CHECKING:
    import torch

__all__ = ["begin", "changes_of", "needs_float32", "soft_tokens", "with_changes"]

Arrays = Mapping[str, npt.NDArray[Any]]
_INSIDE = ("lora", "dora", "ia3")


def soft_tokens(tune: Tune, vocabulary: int) -> range:
    """Ids of the tokens that prompt tuning puts before the header: those after the vocabulary."""
    return range(vocabulary, vocabulary + (tune.tokens if tune.kind == "prompt" else 0))


def needs_float32(tune: Tune) -> bool:
    """Whether weights of the base are trained themselves: small steps vanish in bfloat16."""
    return tune.kind in ("full", "head", "last")


def begin(model: Any, tune: Tune, changes: Arrays | None = None, *, seed: int = 0) -> Any:
    """``model`` ready to be trained: the parameters that ask for a gradient are those of ``tune``.

    Args:
        model: a causal LM; changed in place.
        tune: which weights.
        changes: of an earlier training, to go on from (see `changes_of`).
        seed: of the adapters' first weights, or of the tokens that prompt vectors start from.

    Returns:
        ``model``, or a peft model around it.

    Raises:
        ConfigError: this kind does not work with this model.
        ArtifactError: ``changes`` are of another model.
    """
    from finetuning import tuning

    if tune.kind == "prompt":
        model.requires_grad_(False)
        _put_soft(model, tune, seed)
    elif tune.kind in _INSIDE and changes is not None:
        from peft import set_peft_model_state_dict

        model = tuning.apply(model, tune, seed=seed)
        set_peft_model_state_dict(model, _tensors(changes))
        return model
    else:
        head = (_head_name(model),) if tune.kind == "head" else ()
        model = tuning.apply(model, tune, head_names=head, seed=seed)
    if changes is not None:
        _load(model, changes)
    return model


def changes_of(model: Any, tune: Tune) -> dict[str, npt.NDArray[Any]]:
    """What `begin`'s model has learnt, by name; float32. Not for ``full``."""
    from finetuning import tuning

    if tune.kind in _INSIDE:
        state = tuning.adapter_state(model)
    else:
        state = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return {name: p.detach().float().cpu().numpy().copy() for name, p in state.items()}


def with_changes(model: Any, tune: Tune, changes: Arrays) -> Any:
    """A plain causal LM with ``changes`` in its weights; asking costs no more than before."""
    from finetuning import tuning

    made = begin(model, tune, changes)
    if tune.kind in _INSIDE:
        made = tuning.merged(made, tune)
    return made.requires_grad_(False).eval()


def _head_name(model: Any) -> str:
    head = model.get_output_embeddings()
    found: str = next(name for name, module in model.named_modules() if module is head)
    return found.rpartition(".")[2]


def _tensors(changes: Arrays) -> dict[str, torch.Tensor]:
    import torch

    return {name: torch.from_numpy(np.array(array)) for name, array in changes.items()}


def _load(model: Any, changes: Arrays) -> None:
    """Copy ``changes`` into the parameters of their names, in those parameters' precision."""
    import torch

    known = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in _tensors(changes).items():
            if name not in known or known[name].shape != tensor.shape:
                raise ArtifactError(
                    explain("gpt", f"weights {name!r} of this base model", "another shape or none",
                            "fit it again")
                )  # fmt: skip
            known[name].copy_(tensor)


def _put_soft(model: Any, tune: Tune, seed: int) -> None:
    """Put an embedding in the place of the model's that knows `soft_tokens`, too.

    Its new rows start as those of tokens drawn from the vocabulary, which for a small model is far
    better than numbers at random (Lester et al. 2021, arXiv:2104.08691).
    """
    import torch

    plain = model.get_input_embeddings()
    if not isinstance(plain, torch.nn.Embedding):
        raise ConfigError(
            explain("gpt tune: prompt", "a table of word embeddings", type(plain).__name__)
        )
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(plain.weight), (tune.tokens,), generator=generator)

    class SoftEmbedding(torch.nn.Module):  # type: ignore[misc]
        """The table, and `soft_tokens` behind it."""

        def __init__(self) -> None:
            super().__init__()
            self.plain = plain
            first = plain.weight.detach()[drawn.to(plain.weight.device)].float()
            self.soft_prompt = torch.nn.Parameter(first.clone())

        @property
        def weight(self) -> torch.nn.Parameter:
            """The table's own rows."""
            return plain.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            """(..., D) vectors of ``tokens`` (...)."""
            size = len(plain.weight)
            new = (tokens - size).clamp(min=0)
            soft = self.soft_prompt[new].to(plain.weight.dtype)
            return torch.where((tokens >= size)[..., None], soft, plain(tokens.clamp(max=size - 1)))

    model.set_input_embeddings(SoftEmbedding())
