from __future__ import annotations

from collections.abc import Callable

import pytest
from bert_models import save_model

from fusion import Dataset
from fusion.testing import RankerContract
from rankers.bert import Bert


class BertContract(RankerContract):
    plugin = Bert
    tolerance = 1e-4
    head: str
    tune: str
    mode = "shared"

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny: Dataset) -> Dataset:
        return tiny

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Bert]:
        config = {
            "base_model": str(save_model(tmp_path_factory.mktemp("base"))),
            "head": cls.head,
            "tune": cls.tune,
            "mode": cls.mode,
            "dtype": "float32",
            "item_tokens": 8,
            "history_tokens": 40,
            "max_steps": 4,
            "batch_size": 4,
            "evaluate_every": 2,
            "learning_rate": 1e-3,
        }
        return lambda: Bert(config, name="bert")


class TestCtr(BertContract):
    head, tune = "ctr", "full"


class TestRating(BertContract):
    head, tune = "rating", "lora"


class TestLate(BertContract):
    head, tune, mode = "ctr", "full", "late"


class TestCross(BertContract):
    head, tune, mode = "rating", "lora", "cross"
