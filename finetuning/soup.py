"""Model soups: one model from several fine-tunings of one (Wortsman et al. 2022).

arXiv:2203.05482. Fine-tunings that start from the same weights end near enough to each other for
the mean of their weights to be a model, often a better one, at the price of asking one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from finetuning.settings import Seeds
from fusion.errors import ConfigError, explain

__all__ = ["average", "greedy", "soup"]

log = logging.getLogger(__name__)

State = Mapping[str, torch.Tensor]


def average(states: Iterable[State]) -> dict[str, torch.Tensor]:
    """The mean of every weight, in float32 and back; what is no float is taken from the first.

    Args:
        states: state dicts of one architecture; looked at one by one.

    Raises:
        ConfigError: there is none, or they are of different architectures.
    """
    total: dict[str, torch.Tensor] = {}
    first: State | None = None
    count = 0
    for state in states:
        if first is None:
            first = state
            total = {k: v.detach().float().clone() for k, v in state.items() if _mean_of(v)}
        else:
            _same(first, state)
            for name in total:
                total[name] += state[name].detach().float()
        count += 1
    if first is None:
        raise ConfigError(explain("model soup", "at least one state dict", "none"))
    return {
        name: (total[name] / count).to(tensor.dtype) if name in total else tensor.detach().clone()
        for name, tensor in first.items()
    }


def greedy(
    states: Sequence[State], evaluate: Callable[[State], float]
) -> tuple[dict[str, torch.Tensor], tuple[int, ...]]:
    """From the best state on, each next best is added if the mean is then no worse.

    Args:
        states: state dicts of one architecture.
        evaluate: the validation's value of a state, higher is better; NaN = unusable.

    Returns:
        The mean, and which states are in it, in the order of their own values.

    Raises:
        ConfigError: there is none, or they are of different architectures.
    """
    if not states:
        raise ConfigError(explain("model soup", "at least one state dict", "none"))
    worth = [_value(evaluate(state)) for state in states]
    order = sorted(range(len(states)), key=lambda n: -worth[n])
    chosen, best = [order[0]], worth[order[0]]
    mean = average([states[order[0]]])
    for n in order[1:]:
        if worth[n] == -math.inf:
            break
        trial = average(states[m] for m in (*chosen, n))
        value = _value(evaluate(trial))
        if value >= best:
            chosen, best, mean = [*chosen, n], value, trial
    return mean, tuple(chosen)


def soup(
    train: Callable[[int], State],
    settings: Seeds,
    evaluate: Callable[[State], float] | None = None,
) -> dict[str, torch.Tensor]:
    """Fine-tune ``settings.count`` times and average.

    Args:
        train: ``train(n)`` fine-tunes from the same first weights with the n-th seed and gives the
            state dict.
        settings: how often, and which soup.
        evaluate: the validation's value, for the greedy soup.

    Raises:
        ConfigError: a greedy soup without a validation.
    """
    if settings.count > 1 and settings.soup == "greedy" and evaluate is None:
        raise ConfigError(
            explain("model soup", "a validation for soup: greedy", "none", "use soup: uniform")
        )
    states = (train(n) for n in range(settings.count))
    if settings.count == 1 or settings.soup == "uniform" or evaluate is None:
        return average(states)
    mean, chosen = greedy(list(states), evaluate)
    log.info("model soup: %d of %d fine-tunings", len(chosen), settings.count)
    return mean


def _value(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _mean_of(tensor: torch.Tensor) -> bool:
    return bool(tensor.is_floating_point())


def _same(first: State, other: State) -> None:
    shapes = {name: tensor.shape for name, tensor in first.items()}
    if {name: tensor.shape for name, tensor in other.items()} != shapes:
        names = sorted(first.keys() ^ other.keys()) or "other shapes"
        raise ConfigError(explain("model soup", "weights of one architecture", str(names)))
