"""The ``serving:`` section: what an engine does while it answers requests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fusion.config_components import Fusion
from fusion.protocols import ComponentConfig

__all__ = ["ServingConfig", "ShadowConfig"]


class ShadowConfig(ComponentConfig):
    """A candidate fusion that sees a share of the live requests and never answers one."""

    fusion: Fusion = Field(description="the candidate, as under `fusion:`")
    share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of requests; a request's hash decides, so the same one always counts",
    )
    log: str = Field(description="file of JSON lines that both lists are appended to")


class ServingConfig(ComponentConfig):
    """What an engine does while it answers requests; no part of what it learns."""

    on_model_error: Literal["raise", "skip"] = Field(
        "raise",
        description="a model that raises, or answers with what cannot be scores: an error, or go "
        "on without it as long as one retriever is left",
    )
    remember: int = Field(
        200, ge=0, description="how many of the last requests are kept in memory for `swap`"
    )
    shadow: ShadowConfig | None = Field(
        None, description="a candidate fusion to score a share of the requests with; null = none"
    )
