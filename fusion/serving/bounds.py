"""Which models cannot change the list any more, however they score.

Some methods are sums in which each model's part is independent of the others and lies between 0
and a known number. Once the gaps between the first ``k + 1`` fused scores are wider than all that
the remaining models can add, no answer of theirs can change the first ``k`` or their order: the
stopping rule of Fagin, Lotem and Naor, "Optimal aggregation algorithms for middleware", 2003,
section 4, for whole models instead of single accesses, and for the order too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.protocols import Fused
from fusion.ragged import segment_rank

__all__ = ["largest_parts", "settled"]

#: normalisations whose values lie in 0..1
_UNIT = frozenset({"min_max", "rank"})
#: rules for a missing score under which a model without any score adds nothing to any row
_SILENT = frozenset({"nan", "lowest"})


def largest_parts(fusion: Mapping[str, Any], models: Sequence[str]) -> dict[str, float] | None:
    """Model -> the most that it can add to a row's score; the least is 0.

    ``None`` where no such bound is known: only parallel fusion by ``rrf`` (``weight / (k + 1)``)
    and by ``weighted_sum`` over `min_max` or `rank` (``weight``) have one here, and only if no
    missing score excludes an item.

    Args:
        fusion: what stands under ``fusion:``, complete.
        models: those that it merges.
    """
    if fusion.get("fusions") or fusion.get("keep") is not None:
        return None  # what a sub-fusion or a cut-off does with a part has no bound here
    method = fusion.get("method")
    if fusion.get("mode") != "parallel" or not isinstance(method, Mapping):
        return None
    missing = method.get("missing", {})
    rules = {missing.get(r) for r in ("cold", "timed_out", "filtered")}
    if not rules <= _SILENT or missing.get("not_retrieved") != "complete":
        return None
    if method["name"] == "rrf":
        most = 1.0 / (float(method["k"]) + 1.0)
    elif method["name"] == "weighted_sum" and _name(method.get("normalization")) in _UNIT:
        most = 1.0
    else:
        return None
    weights = fusion.get("weights") or method.get("weights") or {}
    return {model: most * float(weights.get(model, 1.0)) for model in models}


def settled(fused: Fused, k: int, swing: float) -> bool:
    """Whether adding up to ``swing`` to any rows leaves each query's first ``k`` as they are."""
    if swing == 0.0:
        return True
    offsets = fused.candidates.offsets
    order, rank = segment_rank(offsets, (fused.candidates.items, -fused.scores))
    scores, place = fused.scores[order], rank[order]
    gaps: npt.NDArray[np.float64] = scores[:-1] - scores[1:]
    inside = (place[1:] > 1) & (place[:-1] <= k)  # pairs of one query, up to k and k + 1
    # sums are rounded, in one order with a model and in another without it
    return bool((gaps[inside] > swing * (1 + 1e-9) + 1e-12).all())


def _name(spec: Any) -> Any:
    return spec.get("name") if isinstance(spec, Mapping) else spec
