from __future__ import annotations

import numpy as np
import pytest

from fusion.errors import ConfigError
from fusion.strategies.merging import known_models, weight_vector


def test_weights_by_name_and_1_for_the_rest() -> None:
    np.testing.assert_array_equal(weight_vector("x", {"b": 2, "a": 0}, ("a", "b", "c")), [0, 2, 1])


def test_a_weight_of_no_model_is_not_ignored() -> None:
    with pytest.raises(
        ConfigError, match=r"x: expected .* a, ease, got 'eese'; did you mean 'ease'"
    ):
        weight_vector("x", {"eese": 2}, ("a", "ease"))


def test_all_weights_0() -> None:
    with pytest.raises(ConfigError, match="a weight above 0"):
        weight_vector("x", {"a": 0, "b": 0}, ("a", "b"))


def test_unknown_model() -> None:
    with pytest.raises(ConfigError, match="got 'eese'; did you mean 'ease'"):
        known_models("x", ("ease", "eese"), ("a", "ease"))
