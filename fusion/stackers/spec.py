"""How a YAML names a stacker."""

from __future__ import annotations

from typing import ClassVar

from fusion.spec import Spec
from fusion.stackers.base import Stacker

__all__ = ["StackerSpec"]


class StackerSpec(Spec):
    """``greedy``, or ``{name: lambdamart, num_leaves: 15}``."""

    group: ClassVar[str] = "stackers"

    def build(self) -> Stacker:
        """The stacker, not fitted."""
        stacker: Stacker = super().build()
        return stacker
