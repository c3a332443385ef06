"""Fewer layers: an encoder that is cut down before it is fine-tuned.

Two papers say which layers to keep. DistilBERT's student begins from every second layer of BERT
(Sanh, Debut, Chaumond and Wolf, "DistilBERT, a distilled version of BERT", EMC2 workshop at NeurIPS
2019, arXiv:1910.01108, section 3: "by taking one layer out of two"). Sajjad, Dalvi, Durrani and
Nakov ("On the effect of dropping layers of pre-trained transformer models", Computer Speech and
Language 77, 2023, arXiv:2004.03844) only prune and fine-tune, without a teacher, and compare
dropping the top layers, every second one, the middle ones, those that change their input least, and
the bottom ones: up to 40 % can go while 98 % of the performance stays, a pruned model is on par
with a distilled one of its size, and the lower layers matter most. Evenly spaced layers are
DistilBERT's choice carried on to any number; the lowest one is always among them.
"""

from __future__ import annotations

from typing import Any

from fusion.errors import ConfigError, explain

__all__ = ["evenly_spaced", "keep_layers"]


def evenly_spaced(n: int, keep: int) -> list[int]:
    """``keep`` of the layers ``0 .. n - 1``: the first, the last, and others evenly between.

    Half-way places are rounded up. Of twelve layers six are those that DistilBERT's code takes.

    >>> evenly_spaced(12, 6)
    [0, 2, 4, 7, 9, 11]
    >>> evenly_spaced(6, 3), evenly_spaced(6, 1)
    ([0, 3, 5], [0])
    """
    gaps = max(keep - 1, 1)
    # in integers: floor(i * (n - 1) / gaps + 1 / 2)
    return [(2 * i * (n - 1) + gaps) // (2 * gaps) for i in range(keep)]


def keep_layers(encoder: Any, layers: int | None, name: str) -> None:
    """Leave ``encoder`` with ``layers`` evenly spaced layers of those it has; in place.

    Its configuration says so too (``num_hidden_layers``), so that it is saved and loaded as what it
    is. Where it has just so many layers already, nothing changes.

    Args:
        encoder: a Hugging Face encoder of BERT's build: its layers are ``encoder.layer``.
        layers: how many; ``None`` = all.
        name: whose encoder it is, for the messages.

    Raises:
        ConfigError: it is built otherwise (ALBERT shares one layer, others have other names), or
            has fewer layers.
    """
    if layers is None:
        return
    from torch import nn

    stack = getattr(getattr(encoder, "encoder", None), "layer", None)
    who = f"bert base_model {name!r}, layers"
    if not isinstance(stack, nn.ModuleList):
        raise ConfigError(
            explain(
                who,
                "an encoder with a list of layers, `encoder.layer` (BERT, MiniLM, RoBERTa)",
                type(encoder).__name__,
                "leave `layers` out, or choose another base_model",
            )
        )
    if layers > len(stack):
        raise ConfigError(
            explain(who, f"at most the {len(stack)} that it has", str(layers), "lower it")
        )
    encoder.encoder.layer = nn.ModuleList(stack[i] for i in evenly_spaced(len(stack), layers))
    encoder.config.num_hidden_layers = layers
