from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gpt_models import save_model

from rankers.gpt_base import load_model
from rankers.gpt_embedding import cosines, encode, pooled
from rankers.gpt_reader import Reader

HEADER = np.array([0, 5])
TEXTS = [np.array([7, 8, 9]), np.array([7, 8]), np.arange(2, 80), np.array([11]), np.array([7, 8])]


@pytest.mark.parametrize("kind", ["llama", "granite"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("budget", [2048, 30])
def test_vectors_are_those_of_separate_passes(
    tmp_path: Path, kind: str, pooling: str, budget: int
) -> None:
    model = load_model(save_model(tmp_path, kind), torch.float32)
    found = encode(Reader(model), HEADER, TEXTS, pooling, longest=budget, budget=budget)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = torch.from_numpy(np.concatenate([HEADER, text]))[None]
        with torch.no_grad():
            states = model.base_model(input_ids=ids).last_hidden_state[0, len(HEADER) :]
        want = states.mean(0) if pooling == "mean" else states[-1]
        np.testing.assert_allclose(vector, want.numpy(), atol=1e-4)


def test_no_texts(tmp_path: Path) -> None:
    reader = Reader(load_model(save_model(tmp_path), torch.float32))
    assert len(encode(reader, HEADER, [], "mean", longest=9, budget=9)) == 0


def test_cosines_written_out() -> None:
    vectors = np.array([[2.0, 0.0], [0.0, 2.0], [np.nan, np.nan]], np.float32)
    asked = np.array([[1.0, 0.0], [3.0, 3.0]], np.float32)
    plain = cosines(asked, [np.array([0, 1]), np.array([1])], vectors, False)
    np.testing.assert_allclose(np.concatenate(plain), [1, 0, np.sqrt(0.5)], atol=1e-6)
    # the mean is (1, 1): the queries become (0, -1) and (2, 2), the items (1, -1) and (-1, 1)
    moved = cosines(asked, [np.array([0, 1]), np.array([1])], vectors, True)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(np.concatenate(moved), [half, -half, 0], atol=1e-6)


def test_pooled_written_out() -> None:
    states = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    text = torch.tensor([0, 0, 1])
    assert pooled(states, text, 2, "mean").tolist() == [[2.0, 0.0], [0.0, 5.0]]
    assert pooled(states, text, 2, "last").tolist() == [[3.0, 0.0], [0.0, 5.0]]
