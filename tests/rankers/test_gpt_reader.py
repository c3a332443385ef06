from __future__ import annotations

import numpy as np
import pytest
import torch
from gpt_models import save_model

from fusion.errors import ConfigError
from rankers.gpt_base import load_model
from rankers.gpt_reader import Reader
from rankers.packing import pack

KINDS = ["llama", "gpt2", "granite"]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = save_model(tmp_path_factory.mktemp(request.param), request.param)
    return load_model(folder, torch.float32)


def test_log_likelihood_is_the_log_softmax_of_the_logits(model) -> None:
    packed = pack([[5, 6, 7], [8]], [[[9, 10]], [[11], [12]]], 0)
    rows, targets = np.array([2, 2, 4, 6]), np.array([3, 4, 5, 6])  # one place asked twice
    reader = Reader(model)
    with torch.no_grad():
        logits = reader.logits(packed, torch.from_numpy(rows))
        found = reader.log_likelihood(packed, rows, targets)
        answer = reader.answer(packed, rows, 17, 23)
    want = torch.log_softmax(logits, 1)[range(4), targets]
    np.testing.assert_allclose(found, want, atol=1e-5)
    np.testing.assert_allclose(answer, logits[:, 17] - logits[:, 23], atol=1e-5)


def test_a_head_that_is_more_than_a_matrix_is_noticed(tmp_path) -> None:
    plain = Reader(load_model(save_model(tmp_path / "a", "llama"), torch.float32)).plain
    scaled = Reader(load_model(save_model(tmp_path / "b", "granite"), torch.float32)).plain
    assert (plain, scaled) == (True, False)


def test_a_model_that_cannot_be_packed_is_refused(tmp_path) -> None:
    bloom = load_model(save_model(tmp_path, "bloom"), torch.float32)
    with pytest.raises(ConfigError, match="rotary or absolute positions"):
        Reader(bloom)


def test_a_model_that_ignores_the_block_mask_is_refused(model) -> None:
    class Deaf(Reader):
        def _inputs(self, packed):
            return super()._inputs(packed) | {"attention_mask": None}

    with pytest.raises(ConfigError, match="obeys a block mask"):
        Deaf(model)
