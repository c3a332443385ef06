from __future__ import annotations

import json
import math

from fusion.evaluation.significance import Estimate
from fusion.tuning.report import Report, SegmentReport, TrialReport

WEIGHTS = {"weights": {"a": 0.25, "b": 0.75}}


def test_it_goes_through_json_and_back() -> None:
    report = Report(
        metric="NDCG@10",
        search="grid",
        queries=7,
        parameters={"method.normalization": "rank"},
        weights=WEIGHTS,
        start=0.1,
        in_sample=0.2,
        estimate=Estimate(0.15, 0.1, 0.2, math.nan, 0.95, 7, 7),
        gain=None,
        segments={"cold": SegmentReport(3, True, WEIGHTS)},
        trials=(TrialReport({"method.normalization": "rank"}, WEIGHTS, None),),
        seconds=1.5,
    )
    text = json.dumps(report.to_json(), allow_nan=False)
    again = Report.from_json(json.loads(text))
    assert again.estimate is not None
    assert math.isnan(again.estimate.p)
    assert again.to_json() == report.to_json()
    assert again.trials == report.trials
    assert again.segments == report.segments
