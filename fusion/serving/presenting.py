"""From item indices to what a caller sees: recommendations, or a table of many users."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fusion.data.dataset import Dataset
from fusion.recommendation import ModelRun, Recommendation
from fusion.request_profile import RequestProfile, profile_of
from fusion.serving.batching import Tally
from fusion.topk import Top

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ListTables", "about_of", "items_of", "lists_schema", "request_profile", "runs_of_all"]


def items_of(
    top: Top,
    data: Dataset,
    notes: Sequence[tuple[str, ...]] = (),
    propensities: Sequence[float] = (),
) -> list[Recommendation]:
    """The rows of a batch of one.

    Args:
        notes: one a row, or none at all.
        propensities: likewise.
    """
    ids, titles = data.catalog.ids, data.catalog.titles
    return [
        Recommendation(
            ids[item],
            float(top.scores[row]),
            row + 1,
            {p: float(v) for p, v in zip(top.parts, top.contributions[row], strict=True)},
            titles[item],
            tuple(notes[row]) if len(notes) else (),
            float(propensities[row]) if len(propensities) else 1.0,
        )
        for row, item in enumerate(top.items)
    ]


def runs_of_all(models: Sequence[str], runs: Mapping[str, ModelRun]) -> dict[str, ModelRun]:
    """How every model of the engine did, those too that nobody asked."""
    unasked = ModelRun("skipped", 0.0, "the fusion did not ask it")
    return {name: runs.get(name, unasked) for name in models}


def request_profile(marks: Sequence[float], runs: Mapping[str, ModelRun]) -> RequestProfile:
    """Where the time of a request went.

    Args:
        marks: seconds, rising: the start, and the ends of preparing, asking and fusing, the steps
            after fusion, presenting.
        runs: of the models that were asked.
    """
    prepare, asked, rules, present = (1000 * (b - a) for a, b in pairwise(marks))
    fuse = max(asked - sum(run.ms for run in runs.values()), 0.0)
    own = (("prepare", prepare), ("fuse", fuse), ("rules", rules), ("present", present))
    calls = ((name, run.calls) for name, run in runs.items())
    return profile_of(calls, own, 1000 * (marks[-1] - marks[0]))


def lists_schema() -> pa.Schema:
    """The columns of `Engine.recommend_many`."""
    import pyarrow as pa

    kinds = (pa.string(), pa.string(), pa.float64(), pa.int32())
    names = ("user_id", "item_id", "score", "rank")
    return pa.schema(list(zip(names, kinds, strict=True)))


class ListTables:
    """Makes tables of batches.

    Args:
        data: whose item ids are shown.
    """

    def __init__(self, data: Dataset) -> None:
        import pyarrow as pa

        self._ids = pa.array(data.catalog.ids, pa.string())

    def of(self, users: Sequence[str], top: Top) -> pa.Table:
        """One row an item of the lists of ``users``; see `Engine.recommend_many`."""
        import pyarrow as pa

        owners = np.repeat(np.arange(len(users)), np.diff(top.offsets))
        columns = [
            pa.array(users, pa.string()).take(pa.array(owners)),
            self._ids.take(pa.array(top.items)),
            pa.array(top.scores, pa.float64(), from_pandas=False),
            pa.array(top.ranks, pa.int32()),
        ]
        return pa.table(columns, schema=lists_schema())

    def together(self, parts: Sequence[pa.Table], tally: Tally) -> pa.Table:
        """One table of all, with ``tally`` in its metadata."""
        import pyarrow as pa

        whole = pa.concat_tables(parts) if parts else lists_schema().empty_table()
        return whole.combine_chunks().replace_schema_metadata(about_of(tally))


def about_of(tally: Tally) -> dict[str, str]:
    """The metadata of `Engine.recommend_many`."""
    return {"recfusion": json.dumps(tally.to_json())}
