from __future__ import annotations

import math

import pytest
import torch

from retrievers.sequential_loss import gbce, sampled_softmax, softmax

STATES = torch.tensor([[1.0, 0.0]])
TABLE = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 5.0]])  # logits 2, 1, 0
TARGET = torch.tensor([0])


def test_softmax_over_the_allowed_items():
    allowed = torch.tensor([True, True, False])
    expected = -math.log(math.e**2 / (math.e**2 + math.e))
    assert softmax(STATES, TARGET, TABLE, allowed).item() == pytest.approx(expected)


def test_sampled_softmax_written_out():
    log_q = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    negatives = torch.tensor([1, 2, 0])  # the last is the target: left out
    pos = 2 - math.log(3 * 0.5)
    neg = [1 - math.log(3 * 0.3), 0 - math.log(3 * 0.2)]
    expected = -math.log(math.exp(pos) / (math.exp(pos) + sum(map(math.exp, neg))))
    found = sampled_softmax(STATES, TARGET, TABLE, negatives, log_q)
    assert found.item() == pytest.approx(expected)
    plain = -math.log(math.e**2 / (math.e**2 + math.e + 1))
    found = sampled_softmax(STATES, TARGET, TABLE, negatives, log_q, correction=0)
    assert found.item() == pytest.approx(plain)


def test_with_every_item_drawn_alike_it_is_the_softmax():
    """Each other item once in a uniform sample: the correction is one constant."""
    log_q = torch.full((3,), -math.log(3))
    found = sampled_softmax(STATES, TARGET, TABLE, torch.tensor([1, 2, 0]), log_q)
    everything = softmax(STATES, TARGET, TABLE, torch.ones(3, dtype=torch.bool))
    assert found.item() == pytest.approx(everything.item())


def test_gbce_written_out():
    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    share, t = 0.5, 0.75
    power = share * (t * (1 - 1 / share) + 1 / share)
    assert power == pytest.approx(0.625)
    expected = -power * math.log(sigmoid(2)) - math.log(1 - sigmoid(1)) - math.log(1 - sigmoid(0))
    found = gbce(STATES, TARGET, TABLE, torch.tensor([1, 2, 0]), share, t)
    assert found.item() == pytest.approx(expected)
    plain = -math.log(sigmoid(2)) - math.log(1 - sigmoid(1)) - math.log(1 - sigmoid(0))
    assert gbce(STATES, TARGET, TABLE, torch.tensor([1, 2]), share, 0).item() == pytest.approx(
        plain
    )
