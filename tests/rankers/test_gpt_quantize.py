from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gpt_models import save_model

from fusion import Dataset
from fusion.candidates import Candidates
from fusion.errors import ConfigError, DependencyError
from fusion.protocols import FitContext
from rankers.gpt import Gpt
from rankers.gpt_base import load_model
from rankers.gpt_quantize import quantized
from rankers.gpt_reader import Reader
from rankers.gpt_scoring import likelihoods


@pytest.fixture
def model(tmp_path: Path):
    return load_model(save_model(tmp_path), torch.float32)


def test_int8_is_near_and_leaves_embedding_and_head(model) -> None:
    pytest.importorskip("torchao")
    rng = np.random.default_rng(0)
    history, items = rng.integers(2, 320, 20), [rng.integers(2, 320, 4) for _ in range(20)]
    small = quantized(copy.deepcopy(model), "int8")
    kinds = {type(p.data) for n, p in small.named_parameters() if n.endswith("proj.weight")}
    assert torch.Tensor not in kinds
    for untouched in ("get_input_embeddings", "get_output_embeddings"):
        one, other = (getattr(m, untouched)().weight for m in (model, small))
        assert torch.equal(one, other)
    exact, rough = (
        likelihoods(Reader(m), [history], [items], longest=999, budget=999)[0]
        for m in (model, small)
    )
    assert 0 < np.abs(exact - rough).max() < 0.2
    assert np.corrcoef(exact, rough)[0, 1] > 0.98


def test_int4_on_a_cpu_is_refused_in_so_many_words(model) -> None:
    pytest.importorskip("torchao")
    with pytest.raises(ConfigError, match="CUDA and bfloat16") as error:
        quantized(model, "int4")
    assert "int8" in str(error.value)


def test_a_model_without_linear_layers_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    gpt2 = load_model(save_model(tmp_path, "gpt2"), torch.float32)
    with pytest.raises(ConfigError, match="none in GPT2LMHeadModel"):
        quantized(gpt2, "int8")


def test_a_missing_package_names_the_extra(model, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(DependencyError, match=r"recfusion\[quantized\]"):
        quantized(model, "int8")


@pytest.mark.parametrize("tune", ["none", "full"])
def test_what_is_saved_is_not_quantised(tmp_path: Path, tiny: Dataset, tune: str) -> None:
    pytest.importorskip("torchao")
    config = {"base_model": str(save_model(tmp_path / "base")), "dtype": "float32", "tune": tune}
    config |= {"weights": "int8", "training": {"max_tokens": 300, "refit_tokens": 0}}
    model = Gpt(config, name="gpt")
    model.fit(tiny, FitContext())
    queries, rows = tiny.queries(np.array([1])), np.arange(tiny.n_items, dtype=np.int32)
    candidates = Candidates.bare(np.array([0, len(rows)]), rows)
    before = model.score(queries, candidates).values
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    again = Gpt(config, name="gpt")
    again.load(tmp_path / "saved", tiny)
    np.testing.assert_array_equal(again.score(queries, candidates).values, before)
    plain = Gpt(config | {"weights": "none"}, name="gpt")
    plain.load(tmp_path / "saved", tiny)
    assert 0 < np.abs(plain.score(queries, candidates).values - before).max() < 0.2
    model.refit(tiny, FitContext())  # goes on from the exact weights, not from the quantised ones
    np.testing.assert_allclose(model.score(queries, candidates).values, before, atol=1e-5)
