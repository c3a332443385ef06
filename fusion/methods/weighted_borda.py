"""Weighted Borda fusion, by its name in the literature."""

from __future__ import annotations

from fusion.methods.borda import Borda

__all__ = ["WeightedBorda"]


class WeightedBorda(Borda):
    """`Borda`, which takes weights as every method here does: the same numbers.

    Source: Aslam and Montague, "Models for Metasearch", SIGIR 2001, section 4 (weighted
    Borda-fuse).
    """
