from __future__ import annotations

import pytest
import torch

from retrievers.sequential_model import Network


def network(**options) -> Network:
    torch.manual_seed(0)
    made = Network(
        5,
        options.pop("texts", torch.randn(5, 3)),
        options.pop("free", torch.ones(5, dtype=torch.bool)),
        **{"size": 8, "layers": 2, "heads": 2, "dropout": 0.0, "length": 4, "gaps": True} | options,
    )
    return made.eval()


def test_an_embedding_is_its_own_vector_plus_its_texts_projection():
    made = network(free=torch.tensor([True, True, True, True, False]))
    expected = made.free + made.texts @ made.projection.weight.T
    assert torch.allclose(made.table(), expected, atol=1e-6)
    assert (made.free[4] == 0).all()
    only_text = made.table(torch.zeros(5))
    assert torch.allclose(only_text, made.texts @ made.projection.weight.T, atol=1e-6)


def test_without_texts_it_is_its_own_vector():
    made = network(texts=None)
    assert torch.equal(made.table(), made.free)


def test_no_event_sees_a_later_one():
    """Changing the last event and its gap leaves what is known before it as it was."""
    made = network()
    items, gaps = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 1, 2, 3]])
    before = made(items, gaps, made.table())
    after = made(torch.tensor([[0, 1, 2, 4]]), torch.tensor([[0, 1, 2, 9]]), made.table())
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert not torch.allclose(before[:, 3], after[:, 3], atol=1e-3)


def test_padding_on_the_right_changes_nothing():
    made = network()
    short = made(torch.tensor([[2, 3]]), torch.tensor([[0, 5]]), made.table())
    long = made(torch.tensor([[2, 3, 0, 0]]), torch.tensor([[0, 5, 0, 0]]), made.table())
    assert torch.allclose(short, long[:, :2], atol=1e-6)


@pytest.mark.parametrize("gaps", [True, False])
def test_gaps_matter_only_where_they_are_read(gaps):
    made = network(gaps=gaps)
    one = made(torch.tensor([[2, 3]]), torch.tensor([[0, 5]]), made.table())
    other = made(torch.tensor([[2, 3]]), torch.tensor([[0, 20]]), made.table())
    assert torch.allclose(one, other, atol=1e-6) != gaps
