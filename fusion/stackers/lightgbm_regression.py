"""Boosted trees that predict a candidate's label as a number."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from fusion.stackers.boosting import TreeStacker

__all__ = ["LightGBMRegression"]


class LightGBMRegression(TreeStacker):
    """Trees for the expected label by least squares: graded labels, or 1 for the target and else 0.

    Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of
    Statistics 29(5), 2001, section 4.1; LightGBM's ``regression``.

    Inputs: `fusion.stackers.features.tree_features`; integer grades, for NDCG@10 chooses the
    number of trees.
    Relations: the order of expected grades is optimal for DCG with linear gains (Cossock and Zhang,
    "Subset Ranking using Regression", COLT 2006).
    """

    objective: ClassVar[Mapping[str, Any]] = MappingProxyType({"objective": "regression"})
