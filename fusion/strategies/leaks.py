"""No column may come from a model that had seen the labels beside it."""

from __future__ import annotations

from collections.abc import Sequence

from fusion.errors import LeakageError, explain
from fusion.protocols import Labelled

__all__ = ["refuse_leaks"]


def refuse_leaks(who: str, models: Sequence[str], window: Labelled) -> None:
    """Make sure that no column of ``window`` comes from a model that may have seen its labels.

    Raises:
        LeakageError: a model without provenance, or fitted on other data than the window's past.
    """
    for model in models:
        seen = window.provenance.get(model)
        if seen is None:
            got = "no word of what it was fitted on"
        elif seen.fingerprint != window.past.fingerprint:
            got = (
                f"one fitted on {seen.interactions} events up to {seen.newest:.0f} "
                f"({seen.fingerprint[:12]})"
            )
        else:
            continue
        raise LeakageError(
            explain(
                f"{who}: model {model!r}",
                f"a model fitted on the window's past, {window.past.interactions} events "
                f"({window.past.fingerprint[:12]})",
                got,
                "fit the models on the past of the window before they score it",
            )
        )
