"""Normalised columns with something in the place of missing scores, as the policy says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.artifacts import floats_from_json, floats_to_json
from fusion.candidates import Candidates, Missing
from fusion.methods.base import fill_lowest
from fusion.methods.priors import priors_of
from fusion.missing import MissingPolicy
from fusion.normalizations.min_max import MinMax
from fusion.normalizations.segments import FloatArray
from fusion.normalizations.z_score import ZScore
from fusion.protocols import Normalization
from fusion.stackers.base import Fill

__all__ = ["fill_from_json", "fill_of", "fill_to_json", "min_max", "z_scores"]

#: the scales on which stackers see scores, by name
SCALES: Mapping[str, type[Normalization]] = MappingProxyType({"min_max": MinMax, "z_score": ZScore})
#: reasons for which a score is censored rather than unknown
CENSORED = (Missing.NOT_RETRIEVED, Missing.TIMED_OUT, Missing.FILTERED)


def fill_of(policy: MissingPolicy, candidates: Candidates, labels: npt.NDArray[np.float32]) -> Fill:
    """Learn what the rule ``prior`` needs, on each scale, from ``candidates`` and labels (N,)."""
    if not policy.learns:
        return Fill(policy)
    priors = {}
    for scale, normalization in SCALES.items():
        worth = np.ascontiguousarray(normalization().normalize(candidates).T)
        priors[scale] = {
            reason: priors_of(worth, candidates.why == reason, labels)
            for reason in policy.reasons("prior")
        }
    return Fill(policy, priors)


def min_max(candidates: Candidates, fill: Fill) -> FloatArray:
    """(N, M) float64: min-max in the query; where there is no score, what ``fill`` says, or NaN."""
    return _filled("min_max", candidates, fill, ())


def z_scores(candidates: Candidates, fill: Fill) -> FloatArray:
    """(N, M) float64 without NaN: the z-score in the query, for models that need a number.

    Where there is no score and the policy says ``nan``: a censored score (not retrieved, timed out,
    filtered) is the model's lowest of the query, and a cold one is 0, the model's mean: no opinion.
    """
    out = _filled("z_score", candidates, fill, CENSORED)
    np.copyto(out, 0.0, where=np.isnan(out))
    return out


def _filled(
    scale: str, candidates: Candidates, fill: Fill, censored: tuple[Missing, ...]
) -> FloatArray:
    """``censored``: reasons for which ``nan`` means the lowest."""
    worth = SCALES[scale]().normalize(candidates)
    rules = fill.policy.rules
    lowest = tuple(
        reason
        for reason, rule in rules.items()
        if rule == "lowest" or (rule == "nan" and reason in censored)
    )
    if lowest:
        fill_lowest(worth.T, candidates, lowest)
    for reason, prior in fill.priors.get(scale, {}).items():
        np.copyto(worth, prior, where=candidates.why == reason)
    return worth


def fill_to_json(fill: Fill) -> dict[str, Any]:
    """The priors; the policy stands in the config."""
    return {
        scale: {reason.name.lower(): floats_to_json(prior) for reason, prior in priors.items()}
        for scale, priors in fill.priors.items()
    }


def fill_from_json(policy: MissingPolicy, saved: Mapping[str, Any]) -> Fill:
    """What `fill_to_json` gave."""
    return Fill(
        policy,
        {
            scale: {Missing[name.upper()]: floats_from_json(prior) for name, prior in own.items()}
            for scale, own in saved.items()
        },
    )
