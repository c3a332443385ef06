from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bert_models import encoder

from fusion.errors import ConfigError
from rankers.bert_check import check_encoder
from rankers.bert_model import Net, make_batch

HISTORIES = [[2, 20, 21, 22, 3], [2, 30, 3]]
CANDIDATES = [[[2, 40, 3], [2, 41, 42, 43, 3], [2, 40, 3]], [[2, 50, 51, 3]]]


def net(kind: str = "bert", **options: float) -> Net:
    options = {"history_bias": -1.0, "dropout": 0.0, **options}
    return Net(encoder(kind), rating=bool(options.pop("rating", False)), **options).eval()


def logits(model: Net, histories: list, candidates: list) -> torch.Tensor:
    batch = make_batch(histories, candidates, 0)
    with torch.inference_mode():
        return model(batch.tokens, batch.positions, batch.segments, size=batch.size)["logits"]


def test_positions_begin_again_in_every_candidate() -> None:
    batch = make_batch(HISTORIES, CANDIDATES, 0)
    assert batch.positions.tolist() == [
        [0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2],
        [0, 1, 2, 0, 1, 2, 3] + [0] * 9,
    ]
    assert batch.size == 3


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_packed_equals_one_candidate_at_a_time(kind: str) -> None:
    model = net(kind)
    torch.nn.init.normal_(model.head.weight)
    together = logits(model, HISTORIES, CANDIDATES)
    for q, items in enumerate(CANDIDATES):
        for c, item in enumerate(items):
            alone = logits(model, [HISTORIES[q]], [[item]])
            torch.testing.assert_close(together[q, c], alone[0, 0], rtol=1e-5, atol=1e-5)
    assert together[0, 0] == pytest.approx(float(together[0, 2]), abs=1e-5)  # the same item twice
    assert abs(float(together[0, 0] - together[0, 1])) > 1e-3


def test_a_candidate_reads_the_history_unless_the_bias_forbids_it() -> None:
    other = [[2, 60, 61, 62, 3]]
    for bias, reads in ((-1.0, True), (-1e9, False)):
        model = net(history_bias=bias)
        states = []
        for history in (HISTORIES[:1], other):
            batch = make_batch(history, CANDIDATES[:1], 0)
            flat = model.flatten(batch.tokens, batch.positions, batch.segments, batch.size)
            with torch.inference_mode():
                states.append(model.encode(flat)[5:])
        assert torch.allclose(*states, atol=1e-5) is not reads


@pytest.mark.parametrize(("rating", "slope"), [(False, 20.0), (True, 1.0)])
def test_an_untrained_head_is_the_cosine_of_the_mean_states(rating: bool, slope: float) -> None:
    model = net(history_bias=-1e9, rating=rating)

    def mean_state(tokens: list[int], kind: int) -> torch.Tensor:
        ids = torch.tensor([tokens])
        with torch.inference_mode():
            out = model.encoder(input_ids=ids, token_type_ids=torch.full_like(ids, kind))
        return out.last_hidden_state[0].mean(dim=0)

    found = logits(model, HISTORIES, CANDIDATES)
    for q, items in enumerate(CANDIDATES):
        h = mean_state(HISTORIES[q], 0)
        for c, item in enumerate(items):
            cosine = torch.cosine_similarity(mean_state(item, 1), h, dim=0)
            assert float(found[q, c]) == pytest.approx(slope * float(cosine), abs=1e-4)


def test_the_losses_are_those_of_the_literature_over_the_given_labels() -> None:
    nan = math.nan
    batch = make_batch(HISTORIES, CANDIDATES, 0)
    parts = (batch.tokens, batch.positions, batch.segments)
    for rating, labels in (
        (False, [[1.0, 0.0, nan], [1.0, nan, nan]]),
        (True, [[-0.5, nan, 2.0], [1.0, nan, nan]]),
    ):
        model = net(rating=rating)
        y = torch.tensor(labels)
        with torch.inference_mode():
            out = model(*parts, labels=y)
        pairs = [
            (float(x), t)
            for xs, ts in zip(out["logits"].tolist(), labels, strict=True)
            for x, t in zip(xs, ts, strict=True)
            if not math.isnan(t)
        ]
        assert len(pairs) == 3
        if rating:
            expected = sum((x - t) ** 2 for x, t in pairs) / 3
        else:
            p = [1 / (1 + math.exp(-x)) for x, _ in pairs]
            expected = (-math.log(p[0]) - math.log(1 - p[1]) - math.log(p[2])) / 3
        assert float(out["loss"]) == pytest.approx(expected, rel=1e-4)


def test_calibrate_sets_the_mean_prediction_to_the_mean_label() -> None:
    model = net()
    labels = np.array([[1.0, 0.0, 0.0, np.nan]], np.float32)
    model.calibrate(np.array([[2.0, 3.0, 4.0, 99.0]], np.float32), labels)
    # log(1/3 / 2/3) - 3
    assert model.head.bias.item() == pytest.approx(math.log(0.5) - 3.0)
    model = net(rating=True)
    model.calibrate(np.array([[2.0, 3.0, 4.0, 99.0]], np.float32), labels)
    assert model.head.bias.item() == pytest.approx(1 / 3 - 3.0)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_encoders_that_can_read_packed_sequences(kind: str) -> None:
    check_encoder(encoder(kind), kind, longest=60)


@pytest.mark.parametrize(
    ("kind", "longest", "got"), [("bert", 65, "at most 62, got 63"), ("roberta", 64, "at most 61")]
)
def test_too_few_positions(kind: str, longest: int, got: str) -> None:
    with pytest.raises(ConfigError, match=got):
        check_encoder(encoder(kind), kind, longest=longest)


@pytest.mark.parametrize(
    ("kind", "got"),
    [
        ("convbert", "states of one candidate change"),  # its convolutions run along the sequence
        ("roformer", "RoFormerModel; choose another"),  # takes no position ids
    ],
)
def test_encoders_that_cannot_read_packed_sequences(kind: str, got: str) -> None:
    with pytest.raises(ConfigError, match=got):
        check_encoder(encoder(kind), kind, longest=10)
