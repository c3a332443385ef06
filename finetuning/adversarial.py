"""Adversarial training on word embeddings, for any Trainer of transformers and its kin.

After the normal backward pass the word embeddings are moved in the direction that hurts most, the
same batch is asked again, and its gradient is added; then the embeddings are put back. FGM moves
once (Miyato, Dai and Goodfellow 2017, arXiv:1605.07725), PGD in several steps that never leave the
ball of radius epsilon (Madry et al. 2018, arXiv:1706.06083). Both papers' moves are of one
example's input; here, as is usual for fine-tuning, the move is of the table of word embeddings, so
one word moves alike wherever it stands in the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from finetuning.settings import Adversarial
from fusion.errors import ConfigError, explain

__all__ = ["AdversarialMixin"]


class AdversarialMixin:
    """Put before a Trainer among the bases: ``class Mine(AdversarialMixin, Trainer)``.

    Set ``adversarial`` before training starts; the default is the plain Trainer. Embeddings that
    are frozen are moved too, but not trained. With gradient accumulation, each batch has a move of
    its own.

    Attributes:
        adversarial: the block of the YAML.
    """

    adversarial: Adversarial = Adversarial()

    def training_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The Trainer's step, and those with moved embeddings; the loss is that of the first."""

        def backward() -> Tensor:
            # some losses take things out of their inputs
            given = dict(inputs) if isinstance(inputs, dict) else inputs
            loss: Tensor = super(AdversarialMixin, self).training_step(  # type: ignore[misc]
                model, given, *args, **kwargs
            )
            return loss

        if self.adversarial.kind == "none":
            return backward()
        weight = _word_embeddings(model)
        others = [p for p in model.parameters() if p is not weight]
        frozen, plain = not weight.requires_grad, weight.detach().clone()
        earlier, weight.grad = weight.grad, None  # of the batches accumulated so far
        weight.requires_grad_(True)
        try:
            loss = backward()
            gradient = _taken(weight)
            adversarial = self._moved_gradient(weight, plain, gradient, others, backward)
        finally:
            weight.data.copy_(plain)
            weight.requires_grad_(not frozen)
            weight.grad = None
        if not frozen:
            total = gradient + adversarial
            weight.grad = total if earlier is None else earlier + total
        return loss

    def _moved_gradient(
        self,
        weight: nn.Parameter,
        plain: Tensor,
        gradient: Tensor,
        others: list[nn.Parameter],
        backward: Callable[[], Tensor],
    ) -> Tensor:
        """The gradient of ``weight`` where it hurts most; that of ``others`` there is added."""
        settings = self.adversarial
        pgd = settings.kind == "pgd"
        size, steps = (settings.step_size, settings.steps) if pgd else (settings.epsilon, 1)
        kept = [p.grad for p in others]
        for step in range(steps):
            moved = weight.detach() + size * _unit(gradient)
            weight.data.copy_(_projected(moved, plain, settings.epsilon))
            for parameter, grad in zip(others, kept, strict=True):
                # only the last place's gradient is learnt from; the others tell the way there
                parameter.grad = grad if step == steps - 1 else None
            backward()
            gradient = _taken(weight)
        return gradient


def _word_embeddings(model: nn.Module) -> nn.Parameter:
    """The table of the first model of transformers inside ``model``.

    Raises:
        ConfigError: there is none.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            weight = module.get_input_embeddings().weight
            if isinstance(weight, nn.Parameter):
                return weight
    raise ConfigError(
        explain("adversarial", "a model with word embeddings", type(model).__name__, "use none")
    )


def _taken(weight: nn.Parameter) -> Tensor:
    """The gradient, taken away so that the next backward pass starts from nothing."""
    gradient, weight.grad = weight.grad, None
    return torch.zeros_like(weight) if gradient is None else gradient


def _unit(gradient: Tensor) -> Tensor:
    """``gradient`` with a norm of 1; no move at all where it is nothing or no number."""
    norm = gradient.norm()
    usable = torch.isfinite(norm) & (norm > 0)
    return torch.where(usable, gradient / norm, torch.zeros_like(gradient))


def _projected(moved: Tensor, plain: Tensor, epsilon: float) -> Tensor:
    """The nearest place to ``moved`` within ``epsilon`` of ``plain``."""
    step = moved - plain
    return plain + step * (epsilon / step.norm().clamp(min=epsilon))
