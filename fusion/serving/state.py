"""What a swap changes, in one immutable object, so that one assignment changes all of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fusion.config import EngineConfig
from fusion.protocols import Strategy
from fusion.serving.deadline import Calibration
from fusion.serving.shadow import Shadow

if TYPE_CHECKING:
    from fusion.after.pipeline import After

__all__ = ["State"]


@dataclass(frozen=True)
class State:
    """A request reads it once and is answered by it, whatever is swapped meanwhile.

    Attributes:
        config: in force.
        strategy: the fusion of ``config.fusion``, ready to fuse.
        after: the steps after fusion, as `fusion.after.pipeline.After`; ``None`` = none.
        shadow: a candidate that sees a share of the requests.
        calibration: what a deadline needs; ``None`` = not measured for this strategy.
    """

    config: EngineConfig
    strategy: Strategy
    after: After | None = None
    shadow: Shadow | None = None
    calibration: Calibration | None = None

    @cached_property
    def hash(self) -> str:
        """Of the configuration; working it out takes longer than a request should."""
        return self.config.hash
