"""LambdaMART: trees whose gradients weigh each swap of two items by what it does to NDCG."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from fusion.stackers.boosting import TreeStacker

__all__ = ["LambdaMART"]


class LambdaMART(TreeStacker):
    """Trees grown to put the target above the other candidates, most of all at the top.

    Source: Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", Microsoft Research
    MSR-TR-2010-82, 2010, section 7; LightGBM's ``lambdarank``.

    Inputs: `fusion.stackers.features.tree_features`; labels may be integer grades.
    Relations: half of `fusion.stackers.blend.Blend`.

    Example, in YAML::

        fusion: {mode: learned, stacker: {name: lambdamart, num_leaves: 15}}
    """

    objective: ClassVar[Mapping[str, Any]] = MappingProxyType({"objective": "lambdarank"})
