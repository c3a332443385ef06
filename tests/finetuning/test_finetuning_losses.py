from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from finetuning.losses import MultiTask, bpr, in_batch, lambda_loss, ranknet, softmax_listwise

NAN = float("nan")
LISTWISE = [bpr, ranknet, softmax_listwise, lambda_loss]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def batch(seed: int, grades: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Four lists of up to six candidates, padding where there are fewer, graded labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, grades, (4, 6)).astype(np.float32)
    for row, size in enumerate(rng.integers(2, 7, 4)):
        labels[row, size:] = np.nan
    return torch.from_numpy(rng.normal(size=(4, 6)).astype(np.float32)), torch.from_numpy(labels)


def test_bpr() -> None:
    scores = torch.tensor([[1.0, 0.0, 3.0, 9.0], [2.0, 5.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0, NAN], [2.0, 1.0, 0.0, 0.0], [1.0, 1.0, NAN, NAN]])
    first = -(log_sigmoid(1 - 0) + log_sigmoid(1 - 3)) / 2
    second = -2 * (log_sigmoid(2 - 1) + log_sigmoid(5 - 1)) / 4  # 2 and 1 are not compared
    assert float(bpr(scores, labels)) == pytest.approx(
        (first + second) / 2
    )  # the third has no pair
    weighted = bpr(scores, labels, torch.tensor([3.0, 1.0, 5.0]))
    assert float(weighted) == pytest.approx((3 * first + second) / 4)


def test_ranknet() -> None:
    scores = torch.tensor([[1.0, 0.0, 3.0], [2.0, 5.0, 7.0]])
    labels = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, NAN]])
    first = log_sigmoid(1 - 0) + log_sigmoid(1 - 3) + log_sigmoid(0 - 3)
    second = log_sigmoid(5 - 2)
    assert float(ranknet(scores, labels)) == pytest.approx(-(first + second) / 4)
    weighted = ranknet(scores, labels, torch.tensor([2.0, 1.0]))
    assert float(weighted) == pytest.approx(-(2 * first + second) / 7)


def test_bpr_and_ranknet_agree_on_one_positive() -> None:
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(5, 4)
    labels[:, 0] = 1
    torch.testing.assert_close(bpr(scores, labels), ranknet(scores, labels))


def test_softmax_listwise() -> None:
    scores = torch.tensor([[1.0, 0.0, 3.0, 9.0], [1.0, 2.0, 3.0, 4.0]])
    labels = torch.tensor([[1.0, 3.0, 0.0, NAN], [0.0, 0.0, 0.0, 0.0]])
    norm = math.log(math.exp(1) + math.exp(0) + math.exp(3))
    expected = -(0.25 * (1 - norm) + 0.75 * (0 - norm))  # the second list has nothing relevant
    assert float(softmax_listwise(scores, labels)) == pytest.approx(expected)


def test_one_positive_is_the_sampled_softmax() -> None:
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(5, 4)
    labels[:, 0] = 1
    expected = torch.nn.functional.cross_entropy(scores, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(softmax_listwise(scores, labels), expected)


def test_lambda_loss_of_two() -> None:
    """The wrong order of one relevant and one irrelevant candidate, by the paper's formula."""
    scores, labels = torch.tensor([[0.5, 2.0]]), torch.tensor([[1.0, 0.0]])
    # gains over the ideal DCG (1): 1 and 0; discounts: log2 2 and log2 3
    near = 1 / math.log2(2) - 1 / math.log2(3)  # the ranks are one apart
    exchanged = 1 / math.log2(2) - 1 / math.log2(3)
    expected = (10 * near + exchanged) * -log_sigmoid(0.5 - 2.0) / math.log(2)
    assert float(lambda_loss(scores, labels)) == pytest.approx(expected, rel=1e-6)


class Fixed:
    """A stand-in for a CrossEncoder: its scores are told by the texts."""

    num_labels = 1
    device = torch.device("cpu")

    def preprocess(self, pairs: Any, **_: Any) -> dict[str, torch.Tensor]:
        return {"texts": torch.tensor([float(text) for _, text in pairs])}

    def __call__(self, features: Any) -> dict[str, torch.Tensor]:
        return {"scores": features["texts"]}


def theirs(loss: Any, scores: torch.Tensor, labels: torch.Tensor) -> float:
    lists = [
        (row[~label.isnan()], label[~label.isnan()])
        for row, label in zip(scores, labels, strict=True)
    ]
    texts = [[repr(float(score)) for score in row] for row, _ in lists]
    return float(loss([["q"] * len(lists), texts], [label for _, label in lists]))


@pytest.mark.parametrize("seed", range(6))
def test_parity_with_sentence_transformers(seed: int) -> None:
    from sentence_transformers.cross_encoder import losses

    lists = batch(seed)
    ours = float(ranknet(*lists)) / math.log(2)  # theirs is in bits
    loss = losses.RankNetLoss.__new__(losses.RankNetLoss)
    losses.LambdaLoss.__init__(loss, Fixed(), weighting_scheme=None)
    assert ours == pytest.approx(theirs(loss, *lists), rel=1e-5)
    for k in (None, 2):
        loss = losses.LambdaLoss(Fixed(), k=k)
        assert float(lambda_loss(*lists, k=k)) == pytest.approx(theirs(loss, *lists), rel=1e-5)


def test_listnet_of_theirs_is_ours_on_labels_that_are_shares() -> None:
    from sentence_transformers.cross_encoder import losses

    scores, labels = batch(0)
    labels = labels.nan_to_num(0.0)
    expected = theirs(losses.ListNetLoss(Fixed()), scores, labels)
    assert float(softmax_listwise(scores, labels.softmax(1))) == pytest.approx(expected, rel=1e-5)


def test_in_batch_without_correction_is_theirs() -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(4, 8, generator=generator), torch.randn(7, 8, generator=generator)
    loss = MultipleNegativesRankingLoss(torch.nn.Identity(), scale=20.0)
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2)
    expected = torch.nn.functional.cross_entropy(20 * cosines, torch.arange(4))
    torch.testing.assert_close(in_batch(a, b), expected)
    torch.testing.assert_close(
        in_batch(a, b[:4]), loss.compute_loss_from_embeddings([a, b[:4]], torch.zeros(4))
    )


def test_the_correction_takes_the_log_of_the_chance_away() -> None:
    vectors = torch.eye(2)
    found = in_batch(vectors, vectors, scale=1.0, log_q=torch.tensor([0.8, 0.2]).log())
    first = -math.log(math.e / 0.8 / (math.e / 0.8 + 1 / 0.2))
    second = -math.log(math.e / 0.2 / (math.e / 0.2 + 1 / 0.8))
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-5)
    alone = {"log_q": torch.tensor([0.8, 0.2]).log(), "weights": torch.tensor([1.0, 0.0])}
    assert float(in_batch(vectors, vectors, scale=1.0, **alone)) == pytest.approx(first, rel=1e-5)


def test_an_item_is_no_negative_of_itself() -> None:
    vectors = torch.eye(3)
    found = in_batch(vectors, vectors, scale=1.0, ids=torch.tensor([7, 8, 7]))
    outer = math.log(1 + math.exp(-1))  # rows 0 and 2 see one negative, row 1 sees two
    assert float(found) == pytest.approx((2 * outer + math.log(1 + 2 * math.exp(-1))) / 3, rel=1e-5)


def test_correction_estimates_the_full_softmax() -> None:
    """The gradient over many popularity-drawn batches nears that of the softmax over all items."""
    rng = np.random.default_rng(0)
    chance = np.array([0.6, 0.2, 0.1, 0.05, 0.05])
    logits = torch.tensor([0.3, 0.1, 0.9, 0.4, 0.2])
    full = torch.softmax(logits, 0)
    drawn = torch.from_numpy(rng.choice(5, (4000, 200), p=chance))
    log_q = torch.from_numpy(np.log(chance)).float()
    rows = (logits - log_q)[drawn].softmax(1)
    seen = torch.zeros(4000, 5).scatter_add_(1, drawn, rows).mean(0)
    torch.testing.assert_close(seen, full, rtol=0.05, atol=0.01)
    naive = torch.zeros(4000, 5).scatter_add_(1, drawn, logits[drawn].softmax(1)).mean(0)
    assert float((naive - full).abs().max()) > 0.2


def test_fixed_weights_of_tasks() -> None:
    tasks = {"ctr": "classification", "rating": "regression"}
    both = MultiTask(tasks, {"ctr": 1.0, "rating": 0.5})
    found = both({"ctr": torch.tensor(2.0), "rating": torch.tensor(4.0)})
    assert float(found) == 1.0 * 2.0 + 0.5 * 4.0
    assert not list(both.parameters())


def test_uncertainty_settles_where_the_paper_says() -> None:
    """d/ds of exp(-s) L / 2 + s / 2 is 0 at s = log L: the variance is the squared error."""
    both = MultiTask({"ctr": "classification", "rating": "regression"})
    losses = {"ctr": torch.tensor(0.7), "rating": torch.tensor(9.0)}
    optimizer = torch.optim.Adam(both.parameters(), lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        both(losses).backward()
        optimizer.step()
    assert both.log_variance["rating"].item() == pytest.approx(math.log(9.0), abs=1e-3)
    assert both.log_variance["ctr"].item() == pytest.approx(math.log(2 * 0.7), abs=1e-3)
    alone = both({"rating": losses["rating"]})
    assert float(alone.detach()) == pytest.approx(0.5 + math.log(9.0) / 2, abs=1e-3)


@pytest.mark.parametrize("loss", LISTWISE)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_order_of_candidates_and_padding_do_not_matter(loss: Any, seed: int) -> None:
    scores, labels = batch(seed)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(6))
    expected = loss(scores, labels)
    torch.testing.assert_close(loss(scores[:, order], labels[:, order]), expected)
    wider = (
        torch.cat([scores, torch.full((4, 2), 50.0)], 1),
        torch.cat([labels, torch.full((4, 2), NAN)], 1),
    )
    torch.testing.assert_close(loss(*wider), expected)


@pytest.mark.parametrize("loss", LISTWISE)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_gradients_are_numbers_and_raise_the_relevant(loss: Any, seed: int) -> None:
    scores, labels = batch(seed)
    labels = torch.where(labels.isnan(), labels, 0.0)
    labels[:, 0] = 1.0
    scores = (scores * 30).requires_grad_(True)
    loss(scores, labels).backward()
    gradient = scores.grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()
    assert (gradient[labels.isnan()] == 0).all()
    assert (gradient[labels == 1] <= 0).all()
    assert (gradient[labels == 0] >= 0).all()


@pytest.mark.parametrize("loss", LISTWISE)
def test_nothing_to_compare_is_a_loss_of_zero(loss: Any) -> None:
    scores = torch.randn(2, 3).requires_grad_(True)
    found = loss(scores, torch.tensor([[0.0, 0.0, 0.0], [NAN, NAN, NAN]]))
    assert float(found.detach()) == 0.0
    found.backward()
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("loss", LISTWISE)
def test_equal_weights_change_nothing_but_the_scale_of_lambda_loss(loss: Any) -> None:
    lists = batch(3)
    torch.testing.assert_close(loss(*lists, torch.ones(4)), loss(*lists))


def test_far_apart_scores_do_not_overflow() -> None:
    assert float(logsigmoid(torch.tensor(-1e4))) == -1e4
    far = torch.tensor([[-1e4, 1e4]])
    assert float(bpr(far, torch.tensor([[1.0, 0.0]]))) == 2e4
