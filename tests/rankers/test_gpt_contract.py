from __future__ import annotations

from collections.abc import Callable

import pytest
from gpt_models import save_model

from fusion import Dataset
from fusion.testing import RankerContract
from rankers.gpt import Gpt


class GptContract(RankerContract):
    plugin = Gpt
    tolerance = 1e-4
    max_queries = 4

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny: Dataset) -> Dataset:
        return tiny

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Gpt]:
        folder = save_model(tmp_path_factory.mktemp("base"))
        config = {
            "base_model": str(folder),
            "dtype": "float32",
            "score": cls.mode,
            "training": {"max_tokens": 1500, "eval_steps": 4},
        }
        return lambda: Gpt(config, name="gpt")


class TestLikelihood(GptContract):
    mode = "likelihood"


class TestYesNo(GptContract):
    mode = "yes_no"


class TestListwise(GptContract):
    mode = "listwise"


class TestEmbedding(GptContract):
    mode = "embedding"
