from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError, model_validator

from finetuning import settings as blocks
from finetuning.settings import Adversarial, HardNegatives, Tune
from fusion.config_components import filled
from fusion.protocols import ComponentConfig

ALL = [getattr(blocks, name) for name in blocks.__all__ if name not in ("Names", "as_tuple")]


class Model(ComponentConfig):
    tune: Tune = Tune()
    adversarial: Adversarial = Adversarial()


class Before(ComponentConfig):
    """A model that looks at its raw block first, as some do for options of old names."""

    hard: HardNegatives = HardNegatives()

    @model_validator(mode="before")
    @classmethod
    def _as_it_is(cls, value: Any) -> Any:
        return value


@pytest.mark.parametrize("block", ALL)
def test_the_defaults_are_valid_come_back_and_are_described(block: Any) -> None:
    made = block()
    assert block.model_validate_json(made.model_dump_json()) == made
    assert all(field.description for field in block.model_fields.values())
    with pytest.raises(ValidationError, match="no_such_option"):
        block(no_such_option=1)


def test_a_kind_alone_is_a_block() -> None:
    made = Model.model_validate({"tune": "lora", "adversarial": "fgm"})
    assert made.tune == Tune(kind="lora")
    assert made.adversarial == Adversarial(kind="fgm")
    assert Model.model_validate({"tune": {"kind": "lora", "rank": 4}}).tune.rank == 4
    with pytest.raises(ValidationError, match="kind"):
        Model.model_validate({"tune": "lorra"})


def test_a_yaml_is_read_strictly_and_lists_are_tuples() -> None:
    found = filled(Model, {"tune": {"kind": "lora", "targets": ["query", "value"], "alpha": 3}})
    assert found["tune"]["targets"] == ["query", "value"]
    inside = {"hard": {"share": 0.5, "models": ["ease"]}}
    assert filled(Before, inside)["hard"]["models"] == ["ease"]
    assert filled(Model, {"tune": "ia3"})["tune"]["kind"] == "ia3"
    with pytest.raises(ValidationError, match="valid integer"):
        filled(Model, {"tune": {"kind": "lora", "rank": "3"}})


def test_by_default_nothing_is_on() -> None:
    assert blocks.Adversarial().kind == "none"
    assert blocks.Pretraining().steps == 0
    assert blocks.HardNegatives().share == 0
    assert blocks.Propensity().power == 0
    assert blocks.Seeds().count == 1
    quiet = blocks.Augmentation()
    assert (quiet.crop, quiet.mask, quiet.reorder, quiet.synonyms, quiet.rewrite) == (
        *(0, 0, 0),
        None,
        None,
    )


def test_hard_negatives_need_somewhere_to_come_from() -> None:
    with pytest.raises(ValidationError, match="needs models"):
        HardNegatives(share=0.5)
    with pytest.raises(ValidationError, match="skip must be below depth"):
        HardNegatives(depth=10, skip=10)
    assert HardNegatives(share=0.5, models=("ease",)).models == ("ease",)


def test_the_schema_knows_the_short_form() -> None:
    described = TypeAdapter(Model).json_schema()["$defs"]["Tune"]
    kinds = described["properties"]["kind"]["enum"]
    assert "lora" in kinds
    assert described["anyOf"] == [{"type": "object"}, {"enum": kinds}]
    assert "type" not in described
