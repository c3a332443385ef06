"""recfusion: fuse fine-tuned large models and collaborative models into one recommender.

``from fusion import Dataset, Engine`` is the whole of the everyday interface. Names are loaded on
first use, so that importing this package costs milliseconds and never loads torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusion._version import __version__

if TYPE_CHECKING:
    from fusion.candidates import Candidates
    from fusion.data.dataset import Dataset
    from fusion.engine import Engine
    from fusion.errors import RecfusionError
    from fusion.queries import Queries
    from fusion.recommendation import Recommendation

__all__ = [
    "Candidates",
    "Dataset",
    "Engine",
    "Queries",
    "RecfusionError",
    "Recommendation",
    "__version__",
]

_HOME = {
    "Candidates": "fusion.candidates",
    "Dataset": "fusion.data.dataset",
    "Engine": "fusion.engine",
    "Queries": "fusion.queries",
    "RecfusionError": "fusion.errors",
    "Recommendation": "fusion.recommendation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fusion' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
