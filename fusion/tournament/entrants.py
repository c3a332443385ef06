"""Who competes: every model alone, and every fusion that the configuration lets enter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fusion.config_tournament import TournamentConfig
from fusion.errors import RecfusionError
from fusion.registry import known, resolve

__all__ = ["Entrant", "entrants_of"]


@dataclass(frozen=True)
class Entrant:
    """One competitor.

    Attributes:
        name: of its row; unique.
        kind: ``"model"`` for a model alone, ``"fusion"`` for all others.
        fusion: what stands under ``fusion:`` in a YAML.
    """

    name: str
    kind: Literal["model", "fusion"]
    fusion: Mapping[str, Any]


def entrants_of(config: TournamentConfig, models: Sequence[str]) -> list[Entrant]:
    """The models alone first, then methods, stackers, tuned weights, and fusions by name.

    A name is ``method``, ``method/normalization``, ``learned/stacker``, ``tuned/method...``, or the
    key in the YAML. Fusions of a single model are no fusions: with one model only it enters alone.
    """
    found = [Entrant(name, "model", {"mode": "single", "model": name}) for name in models]
    if len(models) > 1:
        found += [Entrant(name, "fusion", fusion) for name, fusion in _fusions(config)]
    taken = dict.fromkeys(models, 0)
    out = []
    for entrant in found:
        name = entrant.name
        if entrant.kind == "fusion" and name in taken:
            taken[name] += 1
            name = f"{name} ({taken[name] + 1})"
        taken.setdefault(name, 0)
        out.append(Entrant(name, entrant.kind, entrant.fusion))
    return out


def _fusions(config: TournamentConfig) -> Iterator[tuple[str, Mapping[str, Any]]]:
    methods = _all("methods", config.methods)
    normalizations = _all("normalizations", config.normalizations)
    for method in methods:
        for name, params in _variants(method, normalizations):
            yield name, {"mode": "parallel", "method": params}
    for stacker in _all("stackers", config.stackers):
        yield f"learned/{stacker}", {"mode": "learned", "stacker": stacker}
    for pair in config.tuned:
        method, _, normalization = pair.partition("/")
        params = {"name": method}
        if normalization:
            params["normalization"] = normalization
        yield (
            f"tuned/{pair}",
            {
                "mode": "tuned",
                "fusion": {"mode": "parallel", "method": params},
                "weights": True,
                "search": config.search,
                "trials": config.trials,
                "folds": 0,  # the tournament makes an honest estimate of its own
            },
        )
    yield from config.fusions.items()


def _all(group: str, names: Sequence[str] | None) -> Sequence[str]:
    return tuple(sorted(known(group))) if names is None else names


def _variants(
    method: str, normalizations: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """``method`` with each normalisation, or as it is where it takes none."""
    try:
        takes = "normalization" in resolve("methods", method).Config.model_fields
    except RecfusionError:
        takes = False  # the row will say why it cannot be built
    if not takes:
        yield method, {"name": method}
        return
    for normalization in normalizations:
        yield f"{method}/{normalization}", {"name": method, "normalization": normalization}
