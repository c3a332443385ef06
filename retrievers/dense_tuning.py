"""What of the encoder is trained, and how it is one plain encoder again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from finetuning.settings import Tune
from retrievers.encoder import Encoder

__all__ = ["merge", "prepare", "recomputing"]

#: parts of a transformer that the mean of its states makes no use of
_UNUSED = ("pooler", "lm_head")


def prepare(encoder: Encoder, tune: Tune, seed: int) -> None:
    """Choose which weights ask for a gradient; adapters go into the transformer.

    ``head`` trains a projection put on top (see `Encoder.project`) and leaves the rest. Otherwise a
    projection that an earlier training left is trained with the rest.

    Raises:
        ConfigError: peft cannot put such adapters into this architecture.
    """
    from finetuning.tuning import apply

    model = encoder.model
    if tune.kind == "head":
        encoder.project()
        apply(model[0], Tune(kind="none"))
        _rest(model, True)
        return
    # the transformer itself, as peft knows architectures and not pipelines
    model[0].model = apply(model[0].model, tune, unused=_UNUSED, seed=seed)
    _rest(model, tune.kind != "none")


def merge(encoder: Encoder, tune: Tune) -> None:
    """Add the adapters to the weights; every weight asks for a gradient again."""
    from finetuning.tuning import merged

    encoder.model[0].model = merged(encoder.model[0].model, tune)
    encoder.model.requires_grad_(True)


@contextmanager
def recomputing(encoder: Encoder, wanted: bool) -> Iterator[None]:
    """Have activations computed again in the backward pass, if that is ``wanted``.

    Said to the transformer itself: sentence-transformers passes it on by a name that transformers
    is about to give up.
    """
    transformer = encoder.model[0].model
    if wanted:
        transformer.activation_checkpointing_enable({"use_reentrant": False})
    yield
    if wanted:
        transformer.activation_checkpointing_disable()


def _rest(model: Any, asked: bool) -> None:
    for module in list(model)[1:]:
        module.requires_grad_(asked)
