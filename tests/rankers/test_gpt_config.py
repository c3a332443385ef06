from __future__ import annotations

import pytest
from pydantic import ValidationError

from finetuning.settings import Tune
from rankers.gpt_config import GptConfig


def test_older_blocks_fill_what_the_shared_ones_do_not_say() -> None:
    def tune(**config) -> Tune:
        return GptConfig.model_validate(config).tune

    assert (tune().kind, tune().rank, tune().alpha, tune().targets) == ("lora", 8, 16.0, "auto")
    older = {"r": 4, "alpha": 8.0, "dropout": 0.0, "target_modules": ["q_proj"]}
    found = tune(tune="dora", lora=older)
    assert (found.kind, found.rank, found.alpha, found.dropout) == ("dora", 4, 8.0, 0.0)
    assert found.targets == ("q_proj",)
    assert tune(tune={"kind": "lora", "rank": 2}, lora=older).rank == 2
    assert tune(tune={"kind": "last", "layers": 5}).layers == 5
    assert tune(tune=Tune(kind="ia3")).rank == 16
    whole = GptConfig.model_validate({"training": {"schedule": "cosine"}})
    assert whole.optimization.schedule == "cosine"
    assert GptConfig.model_validate(whole.model_dump()) == whole
    both = {"training": {"schedule": "cosine"}, "optimization": {"schedule": "linear"}}
    assert GptConfig.model_validate(both).optimization.schedule == "linear"


@pytest.mark.parametrize(
    ("score", "goal"),
    [("likelihood", "likelihood"), ("yes_no", "pointwise"), ("listwise", "pointwise"),
     ("embedding", "contrastive")],
)  # fmt: skip
def test_every_mode_has_an_objective_of_its_own(score: str, goal: str) -> None:
    assert GptConfig.model_validate({"score": score}).goal == goal


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"score": "likelihood", "objective": "bpr"}, "likelihood, multi_task"),
        ({"score": "embedding", "objective": "softmax"}, "contrastive"),
        ({"tune": "prefix"}, "prompt"),
        ({"tune": "full", "r_drop": 1.0}, "dropout"),
        ({"score": "embedding", "r_drop": 1.0}, "regression"),
        ({"hard_negatives": {"share": 0.5, "models": ["a"]}}, "yes_no"),
        ({"tune": "sometimes"}, "sometimes"),
        ({"lora": {"ranks": 3}}, "ranks"),
        ({"listwise": {"list_size": 53}}, "52"),
    ],
)
def test_what_does_not_fit_is_refused(config: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GptConfig.model_validate(config)
