"""Weighted Condorcet fusion, by its name in the literature."""

from __future__ import annotations

from fusion.methods.condorcet import Condorcet

__all__ = ["WeightedCondorcet"]


class WeightedCondorcet(Condorcet):
    """`Condorcet`, which takes weights as every method here does: the same numbers.

    Source: Montague and Aslam, "Condorcet Fusion for Improved Retrieval", CIKM 2002, section 4
    (weighted Condorcet-fuse).
    """
