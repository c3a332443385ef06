"""The speed benchmark runs and says what it measured; how fast is not tested on shared machines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fusion_speed.py"


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_methods_alone() -> None:
    words = ("rrf", "comb_med", "--no-ranx", "--queries", "200", "--items", "30", "--json")
    found: dict[str, Any] = json.loads(run(*words))
    assert found["shape"] == [200, 30, 5]
    assert found["input_bytes"] == 200 * 30 * 5 * 4
    assert [row["method"] for row in found["methods"]] == ["rrf", "comb_med"]
    assert all(row["seconds"] > 0 for row in found["methods"])
    assert found["median_ratio"] is None


def test_a_stream_is_the_same_whatever_its_chunks() -> None:
    rows = json.loads(run("--stream", "300", "--json"))["stream"]
    assert [row["queries"] for row in rows] == [3, 30, 75, 150, 300]
    for row in rows:  # the sum of 1 / (60 + rank) over 100 ranks, for 5 models
        per_query = 5 * sum(1 / (60 + rank) for rank in range(1, 101))
        assert row["checksum"] == pytest.approx(row["queries"] * per_query)
        assert row["resident_mib"] > 1


def test_a_table() -> None:
    text = run("weighted_sum", "--no-ranx", "--queries", "20", "--items", "10", "--repeat", "1")
    assert text.startswith("20 queries x 10 candidates x 5 models, medians\nmethod")
    assert "weighted_sum" in text
