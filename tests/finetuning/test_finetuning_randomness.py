from __future__ import annotations

import random

import numpy as np
import torch

from finetuning.randomness import isolated_rng


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_seeded_inside_and_untouched_outside() -> None:
    states = random.getstate(), torch.random.get_rng_state()
    expected = draws()
    random.setstate(states[0])
    torch.random.set_rng_state(states[1])
    with isolated_rng(1):
        first = draws()
    with isolated_rng(1):
        assert draws() == first
    with isolated_rng(2):
        assert draws() != first
    after = draws()
    assert (after[0], after[2]) == (expected[0], expected[2])
