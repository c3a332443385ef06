"""Whether an encoder can read packed sequences, asked before any training."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from fusion.errors import ConfigError, explain
from rankers.bert_model import Net

__all__ = ["check_encoder"]


def check_encoder(encoder: Any, name: str, *, longest: int) -> None:
    """Refuse an encoder that cannot read packed sequences of texts of ``longest`` tokens.

    Raises:
        ConfigError: it takes no position ids, has too few positions, or lets one candidate look at
            another in spite of the mask (tried on a sequence of three tokens).
    """
    who = f"bert base_model {name!r}"
    wanted = (
        "an encoder that takes position_ids and follows transformers' attention interface "
        "(BERT, MiniLM, RoBERTa)"
    )
    kind, advice = type(encoder).__name__, "choose another base_model"
    if "position_ids" not in inspect.signature(encoder.forward).parameters:
        raise ConfigError(explain(who, wanted, kind, advice))
    net = Net(encoder, rating=False, history_bias=0.0, dropout=0.0).eval()
    positions = getattr(encoder.config, "max_position_embeddings", longest) - net.first_position
    if longest > positions:
        raise ConfigError(
            explain(
                who,
                f"history_tokens and item_tokens of at most {positions - 2}",
                str(longest - 2),
                "lower them",
            )
        )
    tokens = np.array([1, 2, 3])
    alone, beside = (
        net.layout(tokens[:2], np.array([[1, 1]])),
        net.layout(tokens, np.array([[1, 1, 1]])),
    )
    try:
        with torch.inference_mode():
            a, b = (net.encode(flat)[:2] for flat in (alone, beside))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(explain(who, wanted, f"{kind}: {error}", advice)) from error
    if not torch.allclose(a, b, atol=1e-3):
        got = f"{kind}, whose states of one candidate change with the next candidate"
        raise ConfigError(explain(who, wanted, got, advice))
