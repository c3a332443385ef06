"""Quality against budget: what a deadline costs in NDCG."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fusion.protocols import FitContext
from fusion.serving.held_out import held_out
from fusion.serving.subset import restricted_window, subset_strategy

if TYPE_CHECKING:
    from fusion.engine import Engine

__all__ = ["BudgetPoint", "budget_curve"]


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """One length of the chain.

    Attributes:
        ms: milliseconds that its models and the fusion are expected to need.
        models: in the order in which they are asked.
        ndcg: mean NDCG@10 on the out-of-window queries; what learns is cross-fitted over users.
        low: lower end of its 95 % interval over users.
        high: upper end.
    """

    ms: float
    models: tuple[str, ...]
    ndcg: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "models": list(self.models)}


def budget_curve(engine: Engine, *, progress: bool = False) -> list[BudgetPoint]:
    """A point for each prefix of the engine's chain, the cheapest first.

    Raises:
        NotFittedError: the engine is not fitted.
        DataError: it holds no out-of-window scores to judge by.
    """
    calibration = engine.calibrate_deadline(progress=progress)
    context = FitContext(engine.config.seed, catalog=engine.data.catalog)
    names = tuple(engine.models)
    points: list[BudgetPoint] = []
    for n, prefix in enumerate(calibration.prefixes, start=1):
        windows = [restricted_window(window, prefix.models) for window in engine.windows]
        judged = held_out(
            lambda models=prefix.models: subset_strategy(engine.config, names, models)[0],  # type: ignore[misc]
            windows,
            context,
        )
        nan = float("nan")
        mean = None if judged is None else judged.mean()
        points.append(
            BudgetPoint(
                engine.costs.predict("", "fuse")
                + sum(engine.costs.of_model(step.model) for step in calibration.chain[:n]),
                calibration.order[:n],
                nan if mean is None else mean.mean,
                nan if mean is None else mean.low,
                nan if mean is None else mean.high,
            )
        )
    return points
