from __future__ import annotations

import math

import pytest
import torch

from rankers.bert_config_training import Training
from rankers.bert_heads import label_loss
from rankers.bert_objective import Objective

NAN = float("nan")
SCORES = torch.tensor([[2.0, 0.5, 1.0], [0.0, 1.0, 7.0]])
LABELS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, NAN]])


def objective(**options: object) -> Objective:
    return Objective(Training.model_validate(options), features=2)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize("loss", ["bpr", "ranknet"])
def test_pairs(loss: str) -> None:
    first = -(log_sigmoid(1.5) + log_sigmoid(1.0))
    second = -log_sigmoid(-1.0)
    # bpr: a mean of lists; ranknet: of pairs
    expected = (first / 2 + second) / 2 if loss == "bpr" else (first + second) / 3
    found = objective(head="pairwise", loss=loss)(SCORES, LABELS)
    assert float(found) == pytest.approx(expected)


def test_lists() -> None:
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(0.5) + math.exp(1)))
    second = -math.log(1 / (1 + math.e))
    assert float(objective(head="listwise")(SCORES, LABELS)) == pytest.approx((first + second) / 2)
    swapped = SCORES.clone()
    swapped[0] = torch.tensor([0.5, 2.0, 1.0])
    lam = objective(head="listwise", loss="lambda")
    assert float(lam(swapped, LABELS)) > float(lam(SCORES, LABELS))


@pytest.mark.parametrize("head", ["pairwise", "listwise"])
def test_a_list_counts_by_the_weight_of_its_own_item(head: str) -> None:
    loss = objective(head=head)
    alone = [loss(SCORES[i : i + 1], LABELS[i : i + 1]) for i in range(2)]
    weights = torch.tensor([[3.0] * 3, [1.0] * 3])
    expected = (3 * alone[0] + alone[1]) / 4
    assert float(loss(SCORES, LABELS, weights=weights)) == pytest.approx(float(expected))


def test_weights_of_single_labels() -> None:
    logits, labels = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[2.0, 1.0, NAN]])
    weights = torch.tensor([[3.0, 1.0, 5.0]])
    # (3 * 1 + 1 * 4) / 4
    assert float(label_loss(logits, labels, rating=True, weights=weights)) == 1.75
    assert float(label_loss(logits, labels, rating=True)) == 2.5
    even = torch.ones_like(weights)
    plain = label_loss(SCORES, LABELS, rating=False)
    weighted = label_loss(SCORES, LABELS, rating=False, weights=even[:, :3].expand(2, 3))
    assert float(weighted) == pytest.approx(float(plain))


def test_two_tasks_by_fixed_weights() -> None:
    loss = objective(head="multi_task", rating_weight=0.25)
    assert loss.second is not None
    with torch.no_grad():
        loss.second.weight.copy_(torch.tensor([[1.0, 2.0]]))
        loss.second.bias.fill_(0.5)
    features = torch.zeros(2, 3, 2)
    features[0, 0] = torch.tensor([1.0, 1.0])  # says 3.5
    ratings = torch.tensor([[1.5, NAN, NAN], [NAN, NAN, NAN]])
    ctr = float(label_loss(SCORES, LABELS, rating=False))
    found = loss(SCORES, LABELS, features=features, ratings=ratings)
    assert found.item() == pytest.approx(ctr + 0.25 * 4.0)
    # no rating in the batch: ctr alone
    none = torch.full_like(ratings, NAN)
    found = loss(SCORES, LABELS, features=features, ratings=none)
    assert found.item() == pytest.approx(ctr)


def test_two_tasks_by_uncertainty_learn_their_weights() -> None:
    loss = objective(head="multi_task", task_weights="uncertainty")
    features, ratings = torch.ones(2, 3, 2), torch.full_like(LABELS, NAN)
    ratings[:, 0] = torch.tensor([1.0, -1.0])
    loss(SCORES, LABELS, features=features, ratings=ratings).backward()
    names = {name for name, p in loss.named_parameters() if p.grad is not None}
    assert {n for n in names if "log_variance" in n} == {
        "tasks.log_variance.ctr",
        "tasks.log_variance.rating",
    }
    assert "second.weight" in names


@pytest.mark.parametrize(
    "options",
    [
        {"head": "ctr"},
        {"head": "rating"},
        {"head": "listwise"},
        {"head": "pairwise", "loss": "ranknet"},
    ],
)
def test_r_drop_adds_what_two_passes_differ_by(options: dict[str, str]) -> None:
    loss = objective(r_drop=2.0, **options)
    passes = iter([SCORES, SCORES + torch.tensor([[0.5, 0.0, -0.5]])])
    found = loss.of(lambda: (next(passes), None), LABELS, training=True)
    a, b = SCORES, SCORES + torch.tensor([[0.5, 0.0, -0.5]])
    apart = loss.between(a, b, LABELS)
    assert float(apart) > 0
    assert float(loss.between(a, a, LABELS)) == pytest.approx(0.0, abs=1e-6)
    expected = (loss(a, LABELS) + loss(b, LABELS) + 2.0 * apart) / 2
    assert float(found["loss"]) == pytest.approx(float(expected))
    assert found["logits"] is SCORES
    # one pass when it is asked and not trained
    once = iter([SCORES])
    plain = loss.of(lambda: (next(once), None), LABELS, training=False)
    assert float(plain["loss"]) == pytest.approx(float(loss(SCORES, LABELS)))


def test_no_gradient_is_lost_to_what_is_not_there() -> None:
    for options in ({"head": "listwise"}, {"head": "listwise", "loss": "lambda"}, {"head": "ctr"}):
        scores = SCORES.clone()
        scores[1, 2] = NAN  # a cross-encoder has no score there
        scores.requires_grad_(True)
        objective(**options)(scores, LABELS).backward()
        assert torch.isfinite(scores.grad).all()
