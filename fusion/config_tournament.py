"""The section ``tournament:`` of a YAML: who enters, how they are judged, when one is recommended.

::

    tournament:
      folds: 5                      # 6 blocks: learn on some, judge on the next
      methods: [comb_mnz, rrf]      # null (the default) = every registered method
      normalizations: null          # each with every method that takes one
      stackers: null                # each as {mode: learned, stacker: ...}
      tuned: [rrf, weighted_sum/min_max]
      fusions: {ours: {mode: serial, stages: [...]}}
      alpha: 0.01
      test: false                   # true = look at the test split, once, at the end
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from fusion.config_components import Fusion, Name, custom_fault
from fusion.config_errors import nearest, worded
from fusion.protocols import ComponentConfig

__all__ = ["TournamentConfig"]


def _registered(group: str, name: str) -> str:
    """``name``, if ``group`` has it; nothing is imported, so that a broken one can be a row."""
    from fusion.registry import known

    names = known(group)
    if ":" not in name and name not in names:
        expected = f"one of {', '.join(sorted(names))}, or module:Class"
        raise custom_fault(worded(expected, repr(name), nearest(name, names)))
    return name


def _method(name: str) -> str:
    return _registered("methods", name)


def _normalization(name: str) -> str:
    return _registered("normalizations", name)


def _stacker(name: str) -> str:
    return _registered("stackers", name)


def _pair(name: str) -> str:
    method, _, normalization = name.partition("/")
    _method(method)
    if normalization:
        _normalization(normalization)
    return name


Methods = tuple[Annotated[str, AfterValidator(_method)], ...]
Normalizations = tuple[Annotated[str, AfterValidator(_normalization)], ...]
Stackers = tuple[Annotated[str, AfterValidator(_stacker)], ...]
Pairs = tuple[Annotated[str, AfterValidator(_pair)], ...]


class TournamentConfig(ComponentConfig):
    """Which fusions compete, and how one of them may win."""

    methods: Methods | None = Field(
        None, description="fusion methods that enter; null = all that are registered"
    )
    normalizations: Normalizations | None = Field(
        None,
        description="normalisations, each with every method that takes one; null = all that are "
        "registered",
    )
    stackers: Stackers | None = Field(
        None, description="stackers of `mode: learned` that enter; null = all that are registered"
    )
    tuned: Pairs = Field(
        ("rrf", "weighted_sum/min_max", "weighted_sum/z_score"),
        description="methods, as method or method/normalization, that enter once more as `mode: "
        "tuned` with weights found by `search`",
    )
    search: str = Field("coordinate", description="how `tuned` searches, see `mode: tuned`")
    trials: int = Field(60, ge=1, description="trials of each search")
    fusions: dict[Name, Fusion] = Field(
        default_factory=dict, description="fusions of your own that enter beside the others"
    )
    folds: int = Field(
        5,
        ge=2,
        description="judge on so many blocks of queries, each later than what was learnt from",
    )
    alpha: float = Field(
        0.01, gt=0, lt=0.5, description="recommend a fusion only with a corrected p below this"
    )
    permutations: int = Field(
        9_999, ge=99, description="draws of the test; the smallest p is 1 / (draws + 1)"
    )
    cold_share: float = Field(
        0.25, gt=0, lt=1, description="share of queries, of the shortest histories, called cold"
    )
    head_share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="the most popular items that have this share of all events are the head",
    )
    timed: int = Field(15, ge=0, description="queries timed one by one for the latency; 0 = none")
    curves: bool = Field(
        True, description="draw quality against budget, and accuracy against diversity"
    )
    test: bool = Field(
        False,
        description="judge the recommended fusion and the best single model once on the test split",
    )
