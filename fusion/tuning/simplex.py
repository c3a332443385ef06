"""Convex weights: at least 0 each, 1 together; a lattice of them, random ones, and lines through.

Three ways to go about the simplex, one a search:

- grid: every point whose weights are multiples of ``1 / n`` (the simplex-lattice design of Scheffe,
  "Experiments with mixtures", Journal of the Royal Statistical Society B 20, 1958);
- coordinate ascent: from a point straight towards one corner, all other weights shrinking in
  proportion, which is "change one weight and renormalise" of Metzler and Croft, "Linear
  feature-based models for information retrieval", Information Retrieval 10, 2007, section 4.1;
- Optuna: M numbers ``u`` in (0, 1], weights in proportion to ``-log u``. Uniform ``u`` give the
  flat Dirichlet distribution (Devroye, "Non-uniform random variate generation", 1986, section
  XI.4), so nothing that the sampler draws is wasted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import comb

import numpy as np

from fusion.normalizations.segments import FloatArray

__all__ = ["LEAST", "from_unit", "lattice", "lattice_size", "nearest_lattice", "to_unit", "towards"]

#: the least ``u``: a weight of at most ``-log`` of it, before they are made convex
LEAST = 1e-6


def lattice(m: int, n: int) -> Iterator[tuple[float, ...]]:
    """All weights of ``m`` models that are multiples of ``1 / n``, in a fixed order.

    >>> list(lattice(2, 2))
    [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    """
    for counts in _compositions(m, n):
        yield tuple(count / n for count in counts)


def _compositions(m: int, n: int) -> Iterator[tuple[int, ...]]:
    if m == 1:
        yield (n,)
        return
    for first in range(n + 1):
        for rest in _compositions(m - 1, n - first):
            yield (first, *rest)


def lattice_size(m: int, n: int) -> int:
    """How many points `lattice` has.

    >>> lattice_size(3, 10) == sum(1 for _ in lattice(3, 10))
    True
    """
    return comb(n + m - 1, m - 1)


def nearest_lattice(share: float, n: int) -> float:
    """The multiple of ``1 / n`` next to ``share``."""
    return round(share * n) / n


def towards(weights: Sequence[float], m: int, share: float) -> tuple[float, ...]:
    """Weight ``m`` set to ``share``, the others shrunk or stretched in proportion.

    Where model ``m`` had all the weight, the others get equal parts of what is left.

    >>> towards((0.5, 0.25, 0.25), 0, 0.0)
    (0.0, 0.5, 0.5)
    """
    out = rest_of(weights, m) * (1.0 - share)
    out[m] = share
    return tuple(out.tolist())


def rest_of(weights: Sequence[float], m: int) -> FloatArray:
    """(M,) float64: the weights without model ``m``, made convex again."""
    rest = np.array(weights, np.float64)
    rest[m] = 0.0
    if rest.sum() <= 0:
        rest = np.ones(len(rest))
        rest[m] = 0.0
    out: FloatArray = rest / rest.sum()
    return out


def from_unit(units: Sequence[float]) -> tuple[float, ...]:
    """Convex weights from ``u`` in (0, 1]."""
    length = -np.log(np.clip(np.array(units, np.float64), LEAST, 1.0))
    if length.sum() <= 0:
        length = np.ones(len(length))
    return tuple((length / length.sum()).tolist())


def to_unit(weights: Sequence[float]) -> tuple[float, ...]:
    """The ``u`` that `from_unit` makes ``weights`` of, around its median where they are equal."""
    vector = np.array(weights, np.float64)
    # -log u is 1 on average; scaled down where one weight would fall out of the box
    scale = min(float(len(vector)), -np.log(LEAST) / vector.max())
    return tuple(np.exp(-vector * scale).tolist())
