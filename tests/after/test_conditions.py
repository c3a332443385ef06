import numpy as np
import pytest
from after_lists import catalog_of
from pydantic import ValidationError

from fusion.after.conditions import Condition, all_hold
from fusion.errors import ConfigError, DataError

CATALOG = catalog_of(
    4,
    price=[10, 20.5, None, 30],
    brand=["acme", "bolt", None, "acme"],
    tags=[["x", "y"], ["y"], [], None],
)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"field": "price", "min": 20}, "0101"),
        ({"field": "price", "max": 20.5}, "1100"),
        ({"field": "price", "min": 15, "max": 25}, "0100"),
        ({"field": "brand", "equals": "acme"}, "1001"),
        ({"field": "brand", "in": ["bolt", "none"]}, "0100"),
        ({"field": "brand", "not_in": ["acme"]}, "0110"),
        ({"field": "brand", "present": True}, "1101"),
        ({"field": "brand", "present": False}, "0010"),
        ({"field": "tags", "contains": "y"}, "1100"),
        ({"field": "tags", "equals": "y"}, "0100"),
        ({"field": "tags", "in": ["x", "z"]}, "1000"),
        ({"field": "tags", "not_in": ["x"]}, "0111"),
        ({"field": "tags", "present": False}, "0011"),
    ],
)
def test_what_each_operator_holds_of(condition, expected):
    mask = Condition.model_validate(condition).mask(CATALOG, "test")
    assert "".join(map(str, mask.astype(int))) == expected


def test_several_conditions_must_all_hold():
    conditions = (Condition(field="price", max=25), Condition(field="brand", equals="acme"))
    assert all_hold(conditions, CATALOG, "test").tolist() == [True, False, False, False]
    assert all_hold((), CATALOG, "test").all()


def test_a_condition_reads_as_it_was_written():
    assert str(Condition(field="price", min=1, max=2)) == "price min 1 and price max 2"
    given = {"field": "brand", "in": ["acme"]}
    kept = Condition.model_validate(given).model_dump(mode="json", exclude_none=True)
    assert kept == given


@pytest.mark.parametrize(
    ("condition", "error", "message"),
    [
        ({"field": "pricee", "min": 1}, ConfigError, "brand, price, tags.*did you mean 'price'"),
        ({"field": "brand", "min": 1}, DataError, "numbers for min and max, got 'acme'"),
        ({"field": "brand", "contains": "acme"}, DataError, "lists for contains"),
    ],
)
def test_what_the_catalogue_cannot_answer(condition, error, message):
    with pytest.raises(error, match=message):
        Condition.model_validate(condition).mask(CATALOG, "test")


@pytest.mark.parametrize("condition", [{"field": "x"}, {"field": "x", "near": 1}, {"min": 1}])
def test_what_is_no_condition(condition):
    with pytest.raises(ValidationError):
        Condition.model_validate(condition)


def test_values_of_another_kind():
    odd = catalog_of(1, when=[np.datetime64("2020-01-01")])
    with pytest.raises(DataError, match="text, numbers, or lists of them"):
        Condition(field="when", equals="x").mask(odd, "test")
