"""What stands for a score that is missing: a rule for each reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from fusion.candidates import Candidates, Missing

__all__ = ["CensoredPolicy", "MissingPolicy", "Rule", "among"]

Rule = Literal["lowest", "prior", "nan", "exclude"]


class MissingPolicy(BaseModel):
    """A rule for each reason that a score may be missing for (`fusion.candidates.Missing`).

    - ``complete`` (not retrieved only): the model is asked for the score; score completion over the
      union of the retrievers' lists.
    - ``lowest``: the lowest worth that the model gave in the query. The score is censored, not
      unknown: whom the model did not list, it holds no better than the last it listed.
    - ``prior``: the worth at which the model's own scores are as often right as a missing one for
      that reason is; learnt from out-of-window scores.
    - ``nan``: the model says nothing of the item; what that means is the method's own rule (by most
      it adds nothing, trees take NaN as it is).
    - ``exclude``: the item is not recommended at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    not_retrieved: Literal["complete", "lowest", "prior", "nan", "exclude"] = Field(
        "complete", description="the model was not asked beyond its own list"
    )
    cold: Rule = Field("nan", description="the model knows nothing of the item or of the user")
    timed_out: Rule = Field("nan", description="the model was late")
    filtered: Rule = Field("nan", description="the candidate did not reach the model's turn")

    @property
    def completes(self) -> bool:
        """Whether every model is asked for the whole union."""
        return self.not_retrieved == "complete"

    @property
    def learns(self) -> bool:
        """Whether a rule needs out-of-window scores."""
        return "prior" in self.rules.values()

    @property
    def rules(self) -> Mapping[Missing, str]:
        """The rule of each reason; what completion left unasked counts as filtered."""
        return {
            Missing.NOT_RETRIEVED: self.filtered if self.completes else self.not_retrieved,
            Missing.COLD: self.cold,
            Missing.TIMED_OUT: self.timed_out,
            Missing.FILTERED: self.filtered,
        }

    def reasons(self, rule: str) -> tuple[Missing, ...]:
        """The reasons that have ``rule``."""
        return tuple(reason for reason, own in self.rules.items() if own == rule)

    def kept(self, candidates: Candidates) -> npt.NDArray[np.bool_] | None:
        """(N,) bool: the rows that no rule excludes; ``None`` = all of them."""
        reasons = self.reasons("exclude")
        if not reasons:
            return None
        kept = np.ones(len(candidates), bool)
        for column in candidates.why.T:
            kept &= ~among(column, reasons)
        return kept


class CensoredPolicy(MissingPolicy):
    """The same with other defaults: who was cut short says the lowest that it said of others."""

    timed_out: Rule = Field("lowest", description="the model was late")
    filtered: Rule = Field("lowest", description="the candidate did not reach the model's turn")


def among(why: npt.NDArray[np.uint8], reasons: Iterable[Missing]) -> npt.NDArray[np.bool_]:
    """(N,) bool: where the code in ``why`` (N,) is one of ``reasons``.

    By a table of all 256 codes, some times as fast as `numpy.isin`.
    """
    table = np.zeros(256, bool)
    table[list(reasons)] = True
    found: npt.NDArray[np.bool_] = table[why]
    return found
