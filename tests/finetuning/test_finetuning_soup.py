from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuning.settings import Seeds
from finetuning.soup import average, greedy, soup
from fusion.errors import ConfigError

State = Mapping[str, torch.Tensor]


def state(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([value, 2 * value]), "steps": torch.tensor(7)}


def test_the_mean_of_every_weight() -> None:
    found = average([state(1.0), state(2.0), state(6.0)])
    assert found["w"].tolist() == [3.0, 6.0]
    assert found["steps"].item() == 7


def test_half_precision_is_averaged_in_full() -> None:
    states = [{"w": torch.tensor([value], dtype=torch.bfloat16)} for value in [256.0] + [1.0] * 255]
    # in bfloat16 itself, 256 + 1 is 256
    assert average(states)["w"].item() == pytest.approx(511 / 256, rel=0.01)
    assert average(states)["w"].dtype == torch.bfloat16


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=5), st.randoms())
def test_the_order_does_not_matter_and_inputs_stay(values: list[float], random: object) -> None:
    states = [state(value) for value in values]
    found = average(states)["w"]
    torch.testing.assert_close(average(states[::-1])["w"], found, rtol=1e-5, atol=1e-5)
    assert [s["w"][0].item() for s in states] == values


def towards(target: float) -> object:
    return lambda found: -abs(found["w"][0].item() - target)


def test_greedy_by_hand() -> None:
    # towards 3: 2 is best (-1), then 5 (-2), then 0 (-3). (2 + 5) / 2 = 3.5 is better than 2;
    # with 0 it is 7 / 3, worse than 3.5
    found, chosen = greedy([state(0.0), state(2.0), state(5.0)], towards(3.0))  # type: ignore[arg-type]
    assert chosen == (1, 2)
    assert found["w"][0].item() == 3.5


def test_greedy_is_never_worse_than_the_best_alone() -> None:
    states = [state(value) for value in (4.0, 9.0, -3.0, 5.0)]
    value = towards(4.1)
    found, _ = greedy(states, value)  # type: ignore[arg-type]
    assert value(found) >= max(value(s) for s in states)  # type: ignore[operator]


def test_what_diverged_stays_out() -> None:
    def value(found: State) -> float:
        return math.nan if found["w"][0] > 8 else found["w"][0].item()

    found, chosen = greedy([state(9.0), state(1.0)], value)
    assert chosen == (1,)
    assert found["w"][0].item() == 1.0


def test_a_soup_of_several_trainings() -> None:
    asked: list[int] = []

    def train(n: int) -> State:
        asked.append(n)
        return state(float(n))

    assert soup(train, Seeds(count=3))["w"][0].item() == 1.0
    assert asked == [0, 1, 2]
    best = soup(train, Seeds(count=3, soup="greedy"), towards(2.0))  # type: ignore[arg-type]
    assert best["w"][0].item() == 2.0
    assert soup(train, Seeds())["w"][0].item() == 0.0


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        average([])
    with pytest.raises(ConfigError, match="at least one"):
        greedy([], lambda _: 0.0)
    with pytest.raises(ConfigError, match=r"one architecture.*other"):
        average([state(1.0), {"other": torch.zeros(1)}])
    with pytest.raises(ConfigError, match="other shapes"):
        average([{"w": torch.zeros(1)}, {"w": torch.zeros(2)}])
    with pytest.raises(ConfigError, match="a validation"):
        soup(lambda n: state(1.0), Seeds(count=2, soup="greedy"))
