"""Results of several runs in one table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fusion.errors import DataError, explain
from fusion.evaluation.result import Result
from fusion.evaluation.table import Table

__all__ = ["read_results", "side_by_side"]


def read_results(path: Path) -> tuple[list[Result], str]:
    """The results in a file that a benchmark wrote, and its primary metric.

    Raises:
        DataError: the file cannot be read, or holds something else.
        FingerprintError: a fingerprint was altered.
    """
    who = str(path)
    wanted = "a result file of recfusion evaluate"
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(explain(who, wanted, why, "check the path")) from error
    except (ValueError, RecursionError) as error:
        raise DataError(explain(who, wanted, f"no JSON ({error})")) from error
    if isinstance(value, dict) and value.get("tournament"):
        do = "open the report.html beside it; tournaments are not put side by side"
        raise DataError(explain(who, wanted, "the result of a tournament", do))
    try:
        return [Result.from_json(one) for one in value["results"]], str(value["table"]["primary"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(explain(who, wanted, f"other JSON ({error!r})")) from error


def side_by_side(sources: Mapping[str, Sequence[Result]], primary: str) -> Table:
    """One table of all results; a name that stands in several sources gets its source before it.

    Args:
        sources: where results come from -> the results.
        primary: the metric to compare by, as ``NDCG@10``.

    Raises:
        FingerprintError: they were measured under different protocols.
        DataError: there is no result, or one lacks a metric.
    """
    times = Counter(result.name for results in sources.values() for result in results)
    named = [
        replace(result, name=f"{source}: {result.name}") if times[result.name] > 1 else result
        for source, results in sources.items()
        for result in results
    ]
    _, _, k = primary.partition("@")
    cutoff = int(k) if k.isdigit() else 10
    return Table(named, primary=primary, metrics=(primary, f"HR@{cutoff}"), k=cutoff)
