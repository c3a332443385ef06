"""Which weights of a BERT network are trained, at what rate, and how they become plain again."""

from __future__ import annotations

from typing import Any

import torch

from finetuning import tuning
from rankers.bert_config import Config

__all__ = ["at_rest", "make_trainable", "parameter_groups"]


def make_trainable(net: Any, config: Config, seed: int) -> None:
    """Let ``config.tune`` of the encoder, and all that stands on it, be trained.

    ``none`` and ``head`` are the same: the head is always trained, since no encoder brings one.

    Args:
        net: a `Net`, `LateNet` or `CrossNet`; its encoder may get adapters.
        config: the recipe.
        seed: of the adapters' first weights.

    Raises:
        ConfigError: this kind of tuning does not work with this encoder.
    """
    own = net.own_parts()  # before adapters hide them
    net.requires_grad_(False)
    tune = config.tune
    cross = config.mode == "cross"
    if tune.kind not in ("none", "head"):
        # a pooler is read by classifiers only
        heads, unused = (("classifier",), ()) if cross else ((), ("pooler",))
        apart = ("pooler", "classifier") if tune.kind in ("lora", "dora", "ia3") else ()
        net.encoder = tuning.apply(
            net.encoder,
            tune,
            head_names=heads,
            unused=_there(net.encoder, (*unused, *apart), besides=heads),
            seed=seed,
        )
    if tune.kind == "full":
        net.encoder.get_input_embeddings().requires_grad_(not config.freeze_embeddings)
    for part in own:
        part.requires_grad_(True)


def at_rest(net: Any, config: Config) -> None:
    """A plain encoder again, adapters added to its weights, nothing trained any more."""
    net.encoder = tuning.merged(net.encoder, config.tune)
    net.requires_grad_(False)
    net.eval()


def parameter_groups(net: torch.nn.Module, config: Config) -> list[dict[str, Any]]:
    """AdamW's groups: the head has a rate of its own, vectors (biases, norms) have no decay."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            is_head = name.startswith(("head.", "objective.")) or "classifier." in name
            rate = config.head_learning_rate if is_head else config.learning_rate
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]


def _there(encoder: Any, names: tuple[str, ...], *, besides: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that are parts of ``encoder``, without ``besides``, each once."""
    parts = {part for path, _ in encoder.named_modules() for part in path.split(".")}
    return tuple(dict.fromkeys(name for name in names if name in parts and name not in besides))
