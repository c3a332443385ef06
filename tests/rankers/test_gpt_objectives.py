from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gpt_models import save_model
from torch.nn import functional

from finetuning import losses
from rankers.gpt_base import load_model
from rankers.gpt_objectives import Both, Contrastive, Likelihood, Questions, Rating, collate
from rankers.gpt_reader import Reader
from rankers.gpt_rows import Example

RNG = np.random.default_rng(5)
ANSWERS = (7, 11)


def some(n: int) -> np.ndarray:
    return RNG.integers(2, 320, n)


HISTORIES = [some(5), some(9)]
ASKED = [(some(4), some(3), some(6)), (some(5), some(2))]
ROWS = [
    Example(HISTORIES[0], ASKED[0], (1.0, 0.0, 0.0), 2.0),
    Example(HISTORIES[1], ASKED[1], (1.0, 0.0), 0.5),
]


@pytest.fixture(scope="module", params=["llama", "granite"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder: Path = save_model(tmp_path_factory.mktemp(request.param), request.param)
    return Reader(load_model(folder, torch.float32))


def alone(reader: Reader, *parts: np.ndarray) -> torch.Tensor:
    """(T, V) logits of one sequence without packing."""
    ids = torch.from_numpy(np.concatenate(parts))[None]
    return reader.model(input_ids=ids).logits[0].float()


def by_hand(reader: Reader) -> tuple[torch.Tensor, torch.Tensor]:
    table, labels = torch.zeros(2, 3), torch.full((2, 3), torch.nan)
    for b, (history, questions) in enumerate(zip(HISTORIES, ASKED, strict=True)):
        for c, question in enumerate(questions):
            last = alone(reader, history, question)[-1]
            table[b, c] = (last[7] - last[11]).detach()
            labels[b, c] = float(c == 0)
    return table, labels


@pytest.mark.parametrize("name", ["bpr", "ranknet", "softmax", "lambda"])
def test_losses_over_lists_are_the_shared_ones_of_separate_passes(
    reader: Reader, name: str
) -> None:
    whole = {"softmax": "softmax_listwise", "lambda": "lambda_loss"}.get(name, name)
    table, labels = by_hand(reader)
    want = getattr(losses, whole)(table, labels, torch.tensor([2.0, 0.5]))
    loss, told = Questions(name, ANSWERS)(reader.model, reader, collate(ROWS))
    torch.testing.assert_close(loss, want, atol=1e-4, rtol=1e-4)
    known = ~labels.isnan()
    torch.testing.assert_close(told[known], table[known], atol=1e-4, rtol=1e-4)
    assert told.isnan().equal(labels.isnan())


def test_pointwise_is_cross_entropy(reader: Reader) -> None:
    table, labels = by_hand(reader)
    known = ~labels.isnan()
    each = functional.binary_cross_entropy_with_logits(
        table[known], labels[known], reduction="none"
    )
    weights = torch.tensor([2.0, 2.0, 2.0, 0.5, 0.5])
    loss, _ = Questions("pointwise", ANSWERS)(reader.model, reader, collate(ROWS))
    torch.testing.assert_close(loss, (each * weights).mean(), atol=1e-4, rtol=1e-4)


def test_labels_of_lists_are_compared(reader: Reader) -> None:
    ids = [np.array([-1, 5, 9, 13]), np.array([6, 9, 5, 14])]
    rows = [
        Example(h, a, (1.0, *[0.0] * (len(a) - 1)), ids=i)
        for h, a, i in zip(HISTORIES, ASKED, ids, strict=True)
    ]
    _, told = Questions("pointwise", None)(reader.model, reader, collate(rows))
    want = []
    for row in rows:
        labels = row.ids[row.ids >= 0]
        for question in row.candidates:
            chance = alone(reader, row.history, question)[-1].softmax(0)[labels]
            want.append(torch.log(chance[-1] / chance[:-1].sum()))
    torch.testing.assert_close(told, torch.stack(want), atol=1e-4, rtol=1e-4)


def test_rating_is_the_squared_error_of_the_chance_of_yes(reader: Reader) -> None:
    rows = [Example(h, a[:1], (r,)) for h, a, r in zip(HISTORIES, ASKED, (0.25, 1.0), strict=True)]
    loss, _ = Rating(ANSWERS)(reader.model, reader, collate(rows))
    chance = by_hand(reader)[0][:, 0].sigmoid()
    want = ((chance - torch.tensor([0.25, 1.0])) ** 2).mean()
    torch.testing.assert_close(loss, want, atol=1e-5, rtol=1e-4)


def test_likelihood_weighs_tokens(reader: Reader) -> None:
    texts = [some(4), some(6)]
    weights = [np.array([1, 1, 3, 3], np.float32), np.full(6, 0.5, np.float32)]
    rows = [Example(h, (t,), weights=w) for h, t, w in zip(HISTORIES, texts, weights, strict=True)]
    loss, told = Likelihood()(reader.model, reader, collate(rows))
    total = torch.zeros(())
    for history, text, weight in zip(HISTORIES, texts, weights, strict=True):
        logits = alone(reader, history, text)[len(history) - 1 : -1]
        each = functional.cross_entropy(logits, torch.from_numpy(text), reduction="none")
        total = total + (each * torch.from_numpy(weight)).sum()
    torch.testing.assert_close(loss, total / float(sum(w.sum() for w in weights)))
    assert told.shape == (10, 320)
    # weights of one are no weights
    same = [Example(r.history, r.candidates, weights=1.0) for r in rows]
    bare = [Example(r.history, r.candidates) for r in rows]
    one, other = (Likelihood()(reader.model, reader, collate(x))[0] for x in (same, bare))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_contrastive_is_the_shared_loss_of_separate_vectors(reader: Reader, pooling: str) -> None:
    header, log_q = np.array([0, 3]), np.log(np.array([0.5, 0.3, 0.2], np.float32))
    rows = [
        Example(header, (some(n), some(4)), weights=w, items=(i,))
        for n, w, i in ((5, 1.0, 0), (8, 3.0, 1), (3, 2.0, 2), (6, 1.0, 1))
    ]
    loss, _ = Contrastive(pooling, True, 5.0, log_q)(reader.model, reader, collate(rows))
    vectors = []
    for row in rows:
        for text in row.candidates:
            ids = torch.from_numpy(np.concatenate([header, text]))[None]
            states = reader.decoder(input_ids=ids).last_hidden_state[0, 2:]
            vectors.append(states.mean(0) if pooling == "mean" else states[-1])
    asked, items = torch.stack(vectors[0::2]), torch.stack(vectors[1::2])
    middle = items.mean(0)
    ids = torch.tensor([0, 1, 2, 1])
    want = losses.in_batch(
        asked - middle, items - middle, scale=5.0, log_q=torch.from_numpy(log_q)[ids], ids=ids,
        weights=torch.tensor([1.0, 3.0, 2.0, 1.0]),
    )  # fmt: skip
    torch.testing.assert_close(loss, want, atol=1e-4, rtol=1e-4)


def test_both_adds_the_question_by_its_weight(reader: Reader) -> None:
    told = [Example(HISTORIES[0], (some(5),))]
    both = Both(Likelihood(), Questions("pointwise", ANSWERS), 0.25)
    parts = [
        Likelihood()(reader.model, reader, collate(told))[0],
        Questions("pointwise", ANSWERS)(reader.model, reader, collate(ROWS))[0],
    ]
    for rows, want in (
        ([ROWS[0], *told, ROWS[1]], parts[0] + 0.25 * parts[1]),
        (told, parts[0]),
        (ROWS, 0.25 * parts[1]),
    ):
        loss, _ = both(reader.model, reader, collate(rows))
        torch.testing.assert_close(loss, want)
