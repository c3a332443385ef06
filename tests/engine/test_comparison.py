from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion import Dataset
from fusion.comparison import read_results, side_by_side
from fusion.data.splits import leave_last_out, temporal
from fusion.errors import DataError, FingerprintError
from fusion.evaluation.fingerprint import Fingerprint
from fusion.evaluation.result import Result


def result(data: Dataset, name: str, *, kind: Any = "model", cut: Any = leave_last_out) -> Result:
    split = cut(data)
    rng = np.random.default_rng(len(name))
    top = np.array([rng.permutation(data.n_items)[:10] for _ in range(len(split))], np.int32)
    return Result.measure(name, kind, Fingerprint.of(data, split), split, top)


def written(path: Path, results: list[Result]) -> Path:
    value = {"results": [one.to_json() for one in results], "table": {"primary": "NDCG@10"}}
    path.write_text(json.dumps(value))
    return path


def test_what_was_written_is_read(tiny: Dataset, tmp_path: Path) -> None:
    one = result(tiny, "ease")
    found, primary = read_results(written(tmp_path / "a.json", [one]))
    assert primary == "NDCG@10"
    assert found[0].name == "ease"
    np.testing.assert_array_equal(found[0].per_query["NDCG@10"], one.per_query["NDCG@10"])


def test_a_name_in_two_sources_gets_its_source(tiny: Dataset) -> None:
    ease, fused = result(tiny, "ease"), result(tiny, "rrf", kind="fusion")
    table = side_by_side({"a": [ease, fused], "b": [ease]}, "NDCG@10")
    assert [row.name for row in table.rows] == ["a: ease", "b: ease", "rrf"]
    means = [row.means["NDCG@10"] for row in table.rows]
    assert means[0] == means[1] == ease.per_query["NDCG@10"].mean()


def test_results_of_two_protocols_are_refused(tiny: Dataset) -> None:
    with pytest.raises(FingerprintError, match="the split"):
        side_by_side({"a": [result(tiny, "x")], "b": [result(tiny, "y", cut=temporal)]}, "NDCG@10")


def test_an_altered_fingerprint_is_refused(tiny: Dataset, tmp_path: Path) -> None:
    one = result(tiny, "ease")
    path = written(tmp_path / "a.json", [one])
    value = json.loads(path.read_text())
    value["results"][0]["fingerprint"]["data"] = "0" * 64
    path.write_text(json.dumps(value))
    with pytest.raises(FingerprintError):
        read_results(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("[]", "other JSON"),
        ("{}", "other JSON"),
        ('{"tournament": true, "rows": []}', "the result of a tournament; open the report"),
        ('{"results": [{}]}', "expected"),
        ('{"results": 3, "table": {}}', "other JSON"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=why):
        read_results(tmp_path / "x.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.json: expected a result file.*No such file"):
        read_results(tmp_path / "no.json")


def test_nothing_to_compare(tiny: Dataset) -> None:
    with pytest.raises(DataError):
        side_by_side({}, "NDCG@10")
    with pytest.raises(DataError, match="HR@20"):
        side_by_side({"a": [replace(result(tiny, "x"), name="y")]}, "NDCG@20")
