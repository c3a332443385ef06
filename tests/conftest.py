"""Fixtures that several areas share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from tiny_data import tiny_frames

from fusion import Dataset

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# a time limit for one example fails at random on a busy machine; speed is measured in benchmarks/
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the benchmark data in the publishers' layouts."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("RECFUSION_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"benchmark data not found at {folder}; set RECFUSION_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """40 users, 30 items, 12 events each, with time, ratings and text."""
    return Dataset.from_frames(*tiny_frames())
