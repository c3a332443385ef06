"""How alike two rankings are: rank-biased overlap and overlap at k."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from fusion.errors import DataError, explain

__all__ = ["overlap", "rbo"]


def overlap(one: Sequence[Hashable], other: Sequence[Hashable], k: int) -> float:
    """Share of the first ``k`` that both lists have: ``|A & B| / max(|A|, |B|)``, 0..1.

    The order does not matter. Of two empty lists it is 1.

    >>> overlap(["a", "b", "c"], ["b", "a", "x"], 3) == 2 / 3
    True

    Raises:
        DataError: ``k`` below 1, or an item twice in a list.
    """
    if k < 1:
        raise DataError(explain("overlap", "k of at least 1", str(k)))
    _unique("overlap", one, other)
    a, b = set(one[:k]), set(other[:k])
    return len(a & b) / max(len(a), len(b)) if a or b else 1.0


def rbo(one: Sequence[Hashable], other: Sequence[Hashable], p: float = 0.9) -> float:
    """Extrapolated rank-biased overlap, 0 (disjoint) .. 1 (the same list).

    ``RBO_ext``: the share of items that two readers have in common, who go on to the next rank with
    probability ``p`` and take the agreement of the lists' ends to hold beyond them; equation 32 of
    Webber, Moffat and Zobel, "A Similarity Measure for Indefinite Rankings", ACM TOIS 28(4), 2010.
    With ``p = 0.9``, their example, the first ten ranks have 86 % of the weight (section 4.4).
    Lists of different lengths are compared as the prefixes of longer ones that they are. Of two
    empty lists it is 1, of an empty and another one 0.

    >>> rbo("abc", "abc")
    1.0

    Args:
        one: items, best first, each once.
        other: likewise.
        p: persistence, above 0 and below 1.

    Raises:
        DataError: ``p`` outside, or an item twice in a list.
    """
    if not 0 < p < 1:
        raise DataError(explain("rbo", "p above 0 and below 1", str(p)))
    _unique("rbo", one, other)
    short, long = sorted((one, other), key=len)
    s, l_ = len(short), len(long)
    if s == 0:
        return 1.0 if l_ == 0 else 0.0
    seen_short: set[Hashable] = set()
    seen_long: set[Hashable] = set()
    common, at_s, total = 0, 0, 0.0
    for depth in range(1, l_ + 1):  # X_d: how many items the two prefixes of length d share
        new = long[depth - 1]
        if depth <= s and short[depth - 1] == new:
            common += 1
        else:
            common += new in seen_short
            if depth <= s:
                common += short[depth - 1] in seen_long
        if depth <= s:
            seen_short.add(short[depth - 1])
        seen_long.add(new)
        if depth == s:
            at_s = common
        agreement = common / depth
        if depth > s:  # what the short list would go on to share
            agreement += at_s * (depth - s) / (s * depth)
        total += agreement * p**depth
    end = ((common - at_s) / l_ + at_s / s) * p**l_
    return min(1.0, (1 - p) / p * total + end)


def _unique(who: str, *lists: Sequence[Hashable]) -> None:
    for items in lists:
        if len(set(items)) != len(items):
            raise DataError(explain(who, "each item once in a list", "a repeated item"))
