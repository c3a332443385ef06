"""The steps after fusion, one after the other: from what a strategy said to what is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fusion.after.step import ItemVectors, Phase, Ranking, Removed, Step, StepContext
from fusion.data.dataset import Catalog
from fusion.errors import ConfigError, explain
from fusion.protocols import Fused
from fusion.queries import Queries
from fusion.spec import Spec
from fusion.topk import Top

__all__ = ["BOOST", "After", "Shown", "StepSpec"]

#: the part of a score that the steps gave
BOOST = "boost"


class StepSpec(Spec):
    """``mmr``, or ``{name: mmr, trade_off: 0.5}``."""

    group: ClassVar[str] = "steps"

    def build(self) -> Step:
        """The step."""
        step: Step = super().build()
        return step


@dataclass(frozen=True)
class Shown:
    """What is shown of a batch.

    Attributes:
        top: the lists. Its scores need not fall: diversity, exploration and pins change the order
            and leave the scores. An inserted item has the score NaN and contributions of 0; where
            a boost changed a score, the part ``boost`` holds the difference.
        notes: (T,) what the steps did to each shown item, in words; mostly empty.
        propensities: (T,) float64 in (0, 1]: see `Ranking.propensities`.
        removals: what each rule took out of the lists.
    """

    top: Top
    notes: tuple[tuple[str, ...], ...]
    propensities: npt.NDArray[np.float64]
    removals: tuple[Removed, ...]

    @property
    def removed(self) -> Mapping[str, Sequence[int]]:
        """``"step: reason"`` -> item_index of what it took out, over the whole batch."""
        out: dict[str, list[int]] = {}
        for one in self.removals:
            out.setdefault(f"{one.step}: {one.reason}", []).extend(one.items.tolist())
        return out


class After:
    """A pipeline of steps.

    >>> After([{"name": "filter", "deny": ["tea"]}, "mmr"]).labels
    ('filter', 'mmr')

    Args:
        steps: steps, or how a YAML names them. A step that stands twice is labelled ``mmr``,
            ``mmr_2``.

    Raises:
        ConfigError: a step stands before one of an earlier `Phase`.
        pydantic.ValidationError: an unknown step or setting.
    """

    def __init__(self, steps: Sequence[Step | Spec | Mapping[str, Any] | str]) -> None:
        self.steps: tuple[Step, ...] = tuple(map(_built, steps))
        labels: list[str] = []
        for step in self.steps:
            same = sum(step.name == other.name for other in self.steps[: len(labels)])
            labels.append(f"{step.name}_{same + 1}" if same else step.name)
        self.labels = tuple(labels)
        for first, second in zip(self.steps, self.steps[1:], strict=False):
            if second.phase < first.phase:
                raise ConfigError(
                    explain(
                        "after",
                        "filters first, then boosts, then quotas and diversity, then exploration, "
                        "then pins",
                        f"{second.name} after {first.name}",
                        "move it up",
                    )
                )
        # the catalogue it was last used with, and what each step looked up there
        self._bound: tuple[Catalog, tuple[Any, ...]] | None = None

    def __bool__(self) -> bool:
        return bool(self.steps)

    def __repr__(self) -> str:
        return f"After({', '.join(self.labels)})"

    def depth(self, k: int) -> int:
        """How many items of the fused list the steps need to show ``k``."""
        return self._depths(k)[0]

    def _depths(self, k: int) -> list[int]:
        """What each step needs, and at the end ``k``."""
        needs = [k]
        for step in reversed(self.steps):
            needs.append(max(k, step.depth(needs[-1])))
        return needs[::-1]

    def bind(self, catalog: Catalog) -> tuple[Any, ...]:
        """What every step looks up in ``catalog``; kept for the next call with the same one.

        Raises:
            ConfigError: a step names a field or an item that is not there.
            DataError: a field does not hold what a step needs.
        """
        kept = self._bound
        if kept is None or kept[0] is not catalog:
            kept = (catalog, tuple(step.bind(catalog) for step in self.steps))
            self._bound = kept
        return kept[1]

    def apply(
        self,
        fused: Fused,
        queries: Queries,
        catalog: Catalog,
        k: int,
        rng: np.random.Generator,
        *,
        item_vectors: ItemVectors | None = None,
        explain: bool = True,
    ) -> Shown:
        """The first ``k`` of every list after all steps.

        Args:
            fused: what a strategy said of ``queries``.
            queries: Q of them.
            catalog: the items.
            k: how many to show.
            rng: where exploration's chance comes from; one number is drawn a call, and only if a
                step explores. The same state gives the same lists, in a batch or alone.
            item_vectors: for diversity by vectors.
            explain: whether the contributions are wanted; without them there are no parts.

        Raises:
            ConfigError, DataError: as `bind`.
        """
        bound, depths = self.bind(catalog), self._depths(k)
        masks = [step.allowed(own) for step, own in zip(self.steps, bound, strict=True)]
        given = [mask for mask in masks if mask is not None]
        allowed = np.logical_and.reduce(given) if given else None
        explores = any(step.phase is Phase.EXPLORE for step in self.steps)
        seed = int(rng.integers(2**63)) if explores else 0
        ranking = Ranking.of(fused)
        for at, step in enumerate(self.steps):
            context = StepContext(
                queries,
                catalog,
                k,
                depths[at + 1],
                self.labels[at],
                bound[at],
                allowed,
                item_vectors,
                seed,
            )
            ranking = step.apply(ranking, context)
        return _shown(fused, ranking.head(k), explain)


def _built(step: Step | Spec | Mapping[str, Any] | str) -> Step:
    if isinstance(step, Step):
        return step
    built: Step = (step if isinstance(step, Spec) else StepSpec.model_validate(step)).build()
    return built


def _shown(fused: Fused, ranking: Ranking, explain: bool) -> Shown:
    parts: tuple[str, ...] = ()
    contributions = np.zeros((len(ranking), 0))
    if explain:
        there = ranking.rows >= 0
        rows = ranking.rows[there]
        parts = fused.parts
        contributions = np.zeros((len(ranking), len(parts)))
        contributions[there] = fused.explain(rows)
        gained = np.zeros(len(ranking))
        gained[there] = ranking.scores[there] - fused.scores[rows]
        if gained.any():
            parts = (*parts, BOOST)
            contributions = np.column_stack([contributions, gained])
    queries = ranking.queries.tolist()
    notes = tuple(
        ranking.notes.get(key, ()) for key in zip(queries, ranking.items.tolist(), strict=True)
    )
    top = Top(
        ranking.offsets,
        ranking.items,
        ranking.scores,
        ranking.places.astype(np.int32),
        parts,
        contributions,
    )
    return Shown(top, notes, ranking.propensities, ranking.removed)
