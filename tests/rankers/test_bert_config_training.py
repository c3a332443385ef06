from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rankers.bert_config import Config
from rankers.bert_distill import StudentConfig


def tune(**options: Any) -> dict[str, Any]:
    return Config.model_validate(options).tune.model_dump(include={"rank", "alpha", "dropout"})


def test_the_older_fields_say_what_tune_does_not() -> None:
    assert tune(tune="lora") == {"rank": 16, "alpha": 32.0, "dropout": 0.1}
    older = {"lora_rank": 4, "lora_alpha": 8.0, "dropout": 0.2}
    assert tune(tune="lora", **older) == {"rank": 4, "alpha": 8.0, "dropout": 0.2}
    assert tune(tune={"kind": "dora", "rank": 2}, **older) == {
        "rank": 2,
        "alpha": 8.0,
        "dropout": 0.2,
    }
    assert Config.model_validate({"tune": "lora"}).tune.targets == "all-linear"
    assert Config.model_validate({"tune": "ia3"}).tune.targets == "auto"
    assert StudentConfig.model_validate({"tune": "lora", "lora_rank": 3}).tune.rank == 3


@pytest.mark.parametrize("kind", ["full", "none", "lora", "ia3", "last"])
def test_a_config_survives_being_written(kind: str) -> None:
    config = Config.model_validate({"tune": kind, "lora_rank": 3, "dropout": 0.3})
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_what_stands_before_the_text_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="could not be merged"):
        Config.model_validate({"tune": kind})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "bpr"}, "belongs to head: pairwise"),
        ({"head": "pairwise", "loss": "softmax"}, "belongs to head: listwise"),
        ({"r_drop": 1.0, "dropout": 0.0}, "dropout above 0"),
        (
            {"head": "rating", "hard_negatives": {"share": 0.5, "models": ["x"]}},
            "without negatives",
        ),
        ({"hard_negatives": {"share": 0.5}}, "needs models"),
        ({"tune": "everything"}, "kind"),
        ({"optimization": {"schedule": "square"}}, "schedule"),
    ],
)
def test_settings_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(options)


@pytest.mark.parametrize(
    ("options", "criterion"),
    [
        ({}, "ctr"),
        ({"head": "rating"}, "rating"),
        ({"head": "multi_task"}, "multi_task"),
        ({"head": "pairwise"}, "bpr"),
        ({"head": "pairwise", "loss": "ranknet"}, "ranknet"),
        ({"head": "listwise"}, "softmax"),
        ({"head": "listwise", "loss": "lambda"}, "lambda"),
    ],
)
def test_the_loss_of_a_head(options: dict[str, Any], criterion: str) -> None:
    assert Config.model_validate(options).criterion == criterion
