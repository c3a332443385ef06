"""Boosted trees that tell targets from other candidates, each row on its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from fusion.stackers.boosting import TreeStacker

__all__ = ["LightGBMBinary"]


class LightGBMBinary(TreeStacker):
    """Trees for the log-odds that a candidate is its query's target.

    The score is the log-odds; ``1 / (1 + exp(-score))`` is a probability, as well calibrated as the
    share of targets among the teaching rows is that of serving. Classes are not balanced: the order
    of the candidates needs no balance, and the probability would lose its meaning.

    Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of
    Statistics 29(5), 2001, section 4.5; LightGBM's ``binary``.

    Inputs: `fusion.stackers.features.tree_features`; a label above 0 is a target.
    Relations: pointwise where `fusion.stackers.lambdamart.LambdaMART` compares inside a query. The
    number of trees is still chosen by NDCG@10.
    """

    objective: ClassVar[Mapping[str, Any]] = MappingProxyType({"objective": "binary"})
