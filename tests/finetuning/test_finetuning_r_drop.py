from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from finetuning_models import classifier, ids
from torch.nn.functional import kl_div, log_softmax

from finetuning.r_drop import r_drop_loss, r_drop_scores, twice


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_by_hand() -> None:
    p, q = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]
    a, b = torch.tensor([p, p]).log(), torch.tensor([q, p]).log()
    # the second row agrees; logits may have any offset
    found = r_drop_loss(a + 5.0, b)
    assert float(found) == pytest.approx((kl(p, q) + kl(q, p)) / 2 / 2, rel=1e-5)


def test_it_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    x, y = log_softmax(a, 1), log_softmax(b, 1)
    expected = (
        kl_div(x, y, log_target=True, reduction="batchmean")
        + kl_div(y, x, log_target=True, reduction="batchmean")
    ) / 2
    torch.testing.assert_close(r_drop_loss(a, b), expected)
    torch.testing.assert_close(r_drop_loss(b, a), expected)


def test_single_logits_are_yes_or_no() -> None:
    a, b = torch.tensor([2.0, 1.0]), torch.tensor([-1.0, 1.0])
    p, q = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))
    expected = (kl([p, 1 - p], [q, 1 - q]) + kl([q, 1 - q], [p, 1 - p])) / 2 / 2
    assert float(r_drop_scores(a, b)) == pytest.approx(expected, rel=1e-5)
    pair_a, pair_b = (torch.stack([x, torch.zeros(2)], 1) for x in (a, b))
    torch.testing.assert_close(r_drop_loss(pair_a, pair_b), r_drop_scores(a, b))


@pytest.mark.parametrize("nothing", [-math.inf, math.nan])
def test_padding_adds_nothing_and_has_no_gradient(nothing: float) -> None:
    a = torch.tensor([[1.0, 2.0, nothing], [nothing] * 3], requires_grad=True)
    b = torch.tensor([[2.0, 1.0, nothing], [nothing] * 3])
    found = r_drop_loss(a, b)
    torch.testing.assert_close(found.detach(), r_drop_loss(a[:1, :2], b[:1, :2]).detach())
    found.backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()
    assert (a.grad[0, 2], a.grad[1].abs().sum()) == (0, 0)
    valid = torch.tensor([[True, True, False]])
    longer = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[2.0, 1.0, -9.0]])
    torch.testing.assert_close(r_drop_loss(*longer, valid), found.detach())


def test_two_passes_with_other_dropout() -> None:
    model: Any = classifier(labels=2).train()
    labels = torch.tensor([0, 1])
    outputs: list[Any] = []

    def forward() -> Any:
        found = model(input_ids=ids(), labels=labels)
        outputs.append(found)
        return found.loss, found.logits

    with torch.random.fork_rng():
        torch.manual_seed(0)
        loss, logits = twice(forward, 0.7)
    first, second = outputs
    assert not torch.equal(first.logits, second.logits)
    expected = (first.loss + second.loss + 0.7 * r_drop_loss(first.logits, second.logits)) / 2
    torch.testing.assert_close(loss, expected)
    assert logits is first.logits
    outputs.clear()
    plain, _ = twice(forward, 0.0)
    assert len(outputs) == 1
    assert plain is outputs[0].loss
