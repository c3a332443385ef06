"""One row: measured, saved, read again."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from fusion import Dataset
from fusion.data.splits import Split
from fusion.errors import DataError, FingerprintError
from fusion.evaluation.fingerprint import Fingerprint
from fusion.evaluation.result import Result, summarize_lists


def test_measure_by_hand(tiny: Dataset, split: Split) -> None:
    """The target first for every second query, never for the others."""
    top = np.full((len(split), 10), -1, np.int32)
    hit = np.arange(len(split)) % 2 == 0
    top[hit, 0] = split.targets.values[hit]
    result = Result.measure("half", "model", Fingerprint.of(tiny, split), split, top)
    assert len(result) == 120  # 40 users, 3 events each
    for name in ("NDCG@10", "HR@10", "Recall@10", "MRR@10", "MAP@10"):
        assert result.summary[name] == 0.5
    assert result.summary["Precision@10"] == pytest.approx(0.05)
    shown = len(np.unique(split.targets.values[hit]))
    assert result.summary["coverage@10"] == pytest.approx(shown / 30)
    popularity = split.train.popularity
    expected = popularity[split.targets.values[hit]].mean()
    assert result.summary["arp@10"] == pytest.approx(expected)
    assert "diversity@10" not in result.summary


def test_summary_of_lists(tiny: Dataset) -> None:
    top = np.array([[0, 1], [0, -1]], np.int32)
    found = summarize_lists(top, tiny, 2, np.eye(30))
    assert found["diversity@2"] == 1.0  # the one list with a pair
    assert found["coverage@2"] == pytest.approx(2 / 30)
    bits = np.log2(41 / (tiny.popularity[:2] + 1))
    assert found["novelty@2"] == pytest.approx((bits.mean() + bits[0]) / 2)
    counts = tiny.popularity[:2]
    assert found["popularity_share@2"] == pytest.approx((counts.mean() + counts[0]) / 2 / len(tiny))
    alike = np.ones((30, 1), dtype=bool)
    assert summarize_lists(top, tiny, 2, alike)["diversity@2"] == 0.0
    assert math.isnan(summarize_lists(np.full((1, 2), -1, np.int32), tiny, 2)["novelty@2"])


def test_json_round_trip_is_exact(make_result) -> None:
    result = make_result("ease", 0.4)
    result = replace(result, summary={**result.summary, "odd": float("nan")}, extra={"a": [1]})
    text = json.dumps(result.to_json(), allow_nan=False)
    again = Result.from_json(json.loads(text))
    assert (again.name, again.kind, again.fingerprint) == ("ease", "model", result.fingerprint)
    assert again.users.tolist() == result.users.tolist()
    assert again.users.dtype == np.int32
    for name, values in result.per_query.items():
        assert again.per_query[name].tolist() == values.tolist()
    assert math.isnan(again.summary["odd"])
    assert again.latency_ms == {"p50": 1.0}
    assert again.extra == {"a": [1]}
    untimed = replace(result, latency_ms=None)
    assert Result.from_json(untimed.to_json()).latency_ms is None


def test_json_that_lacks_or_alters(make_result) -> None:
    value = make_result("ease", 0.4).to_json()
    altered = {**value, "fingerprint": {**value["fingerprint"], "data": "other"}}
    with pytest.raises(FingerprintError):
        Result.from_json(altered)
    del value["users"]
    with pytest.raises(DataError, match="a key 'users'"):
        Result.from_json(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "magic"}, "kind 'model' or 'fusion'"),
        ({"per_query": {"HR@10": np.ones(3)}}, "120 values of HR@10"),
        ({"per_query": {"HR@10": np.full(120, np.nan)}}, "finite values of HR@10"),
    ],
)
def test_bad_results(make_result, change, message) -> None:
    with pytest.raises(DataError, match=message):
        replace(make_result("ease", 0.4), **change)
