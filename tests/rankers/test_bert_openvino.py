from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bert_models import save_model

from fusion import Candidates, Dataset
from fusion.errors import DependencyError
from fusion.protocols import FitContext
from rankers.bert import Bert
from rankers.bert_config import Config

MODES = ["shared", "late", "cross"]


def need(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"))


def scores(base: Path, data: Dataset, **options: Any) -> np.ndarray:
    config = {"base_model": str(base), "item_tokens": 8, "history_tokens": 40, "max_steps": 0}
    model = Bert({**config, "dtype": "float32", **options})
    model.fit(data, FitContext())
    offsets = np.array([0, 20, 30, 31], np.int64)
    items = np.concatenate([np.arange(20), np.arange(5, 15), [3]]).astype(np.int32)
    candidates = Candidates.bare(offsets, items)
    first = model.score(data.queries(np.arange(3)), candidates).values
    again = model.score(data.queries(np.arange(3)), candidates).values
    np.testing.assert_array_equal(first, again)
    return first


@pytest.mark.parametrize("mode", MODES)
def test_openvino_in_float32_equals_torch(mode: str, base: Path, tiny: Dataset) -> None:
    need("openvino")
    torch_scores = scores(base, tiny, mode=mode)
    found = scores(base, tiny, mode=mode, backend="openvino")
    # a logit of the shared and the late mode is 20 cosines
    np.testing.assert_allclose(found, torch_scores, atol=1e-3 if mode == "late" else 2e-4)
    assert torch_scores.std() > 1e-4


@pytest.mark.parametrize("mode", ["shared", "late"])
def test_int8_keeps_most_of_the_order(mode: str, base: Path, tiny: Dataset) -> None:
    need("openvino", "nncf")
    exact = scores(base, tiny, mode=mode)
    found = scores(base, tiny, mode=mode, backend="openvino", quantize="int8")
    assert np.corrcoef(found[:20], exact[:20])[0, 1] > 0.97
    assert not np.array_equal(found, exact)


def test_int8_needs_openvino() -> None:
    with pytest.raises(ValueError, match="backend: openvino"):
        Config(quantize="int8")


def test_a_missing_package_is_named(
    base: Path, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DependencyError, match=r"recfusion\[openvino\]"):
        scores(base, tiny, backend="openvino")
