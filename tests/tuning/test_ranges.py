from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fusion.tuning.ranges import Range


def test_a_range_is_walked_from_end_to_end() -> None:
    assert Range(low=0, high=1, int=False).lattice(5) == [0, 0.25, 0.5, 0.75, 1]
    assert Range(low=1.5, high=2.5).share(2.0) == 0.5


def test_a_logarithmic_range_goes_by_ratios() -> None:
    decades = Range(low=1, high=100, log=True)
    assert decades.lattice(3) == [1, 10, 100]
    assert decades.share(10) == pytest.approx(0.5)


def test_whole_ends_make_whole_numbers() -> None:
    assert Range(low=1, high=3).int
    assert not Range(low=1.0, high=3).int
    assert Range(low=1, high=3).lattice(9) == [1, 2, 3]
    assert all(isinstance(value, int) for value in Range(low=1, high=3).lattice(9))
    assert Range.model_validate(Range(low=1, high=3).model_dump()).int  # also after a round trip


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"low": 2, "high": 2}, "low below high"),
        ({"low": 0, "high": 2, "log": True}, "low above 0 with log"),
        ({"low": 0.5, "high": 2, "int": True}, "whole ends"),
    ],
)
def test_ranges_that_are_none(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Range(**config)
