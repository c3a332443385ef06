from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bert_models import encoder, save_model

from fusion import Candidates, Dataset, Queries
from fusion.errors import ConfigError
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.work import counting
from rankers.bert import Bert
from rankers.bert_config import Config
from rankers.bert_late import LateNet, encode_items, score_late
from rankers.bert_model import make_batch
from rankers.bert_text import Texts
from rankers.bert_token_store import TokenStore

# item 0 has no text; item i has i tokens
TEXTS = Texts(Ragged.of([[10 + i + j for j in range(i)] for i in range(6)]), 2, 3, 0, 4, 12)
LENGTHS = TEXTS.candidates.lengths


def net(**options: Any) -> LateNet:
    return LateNet(encoder(), rating=False, **options).eval().requires_grad_(False)


def case(histories: list[list[int]], items: list[list[int]]) -> tuple[Queries, Candidates]:
    rows = Ragged.of(items)
    return Queries.from_history(Ragged.of(histories)), Candidates.bare(rows.offsets, rows.values)


def stored(model: LateNet, *, batch_tokens: int = 100) -> TokenStore:
    store = TokenStore(LENGTHS, model.vector_size)
    encode_items(model, TEXTS, store, batch_tokens=batch_tokens, progress=False)
    return store


def max_sim(model: LateNet, history: list[int], item: list[int]) -> float:
    """One loop over history tokens, from the plain encoder's states."""

    def unit(tokens: list[int]) -> torch.Tensor:
        states = model.encoder(input_ids=torch.tensor([tokens])).last_hidden_state[0]
        states = states if model.project is None else model.project(states)
        return states / states.norm(dim=-1, keepdim=True)

    h, c = unit(history), unit(item)
    best = [max(float(a @ b) for b in c) for a in h]
    return float(model.head.weight) * sum(best) / len(best) + float(model.head.bias)


@pytest.mark.parametrize("size", [None, 8])
def test_scores_equal_a_loop_over_tokens(size: int | None) -> None:
    model = net(size=size)
    model.head.bias.fill_(0.5)
    queries, candidates = case([[1, 2], [0], [3, 5]], [[1, 2, 0, 3, 5], [1, 2], [4]])
    scores = score_late(model, TEXTS, stored(model), queries, candidates, batch_tokens=100)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [2, 5, 6]
    owners = candidates.rows
    for row in (0, 1, 3, 4, 7):
        history = TEXTS.history(queries.history[owners[row]])
        expected = max_sim(model, history, TEXTS.candidate(int(candidates.items[row])))
        # 20 cosines of vectors in float16
        assert scores[row] == pytest.approx(expected, abs=20 * 1e-3)


def test_what_is_trained_is_what_is_asked() -> None:
    model = net()
    queries, candidates = case([[1, 2], [3, 5]], [[1, 4], [2, 5]])
    scores = score_late(model, TEXTS, stored(model), queries, candidates, batch_tokens=100)
    histories = [TEXTS.history(h) for h in queries.history]
    batch = make_batch(histories, [[TEXTS.candidate(i) for i in r] for r in ([1, 4], [2, 5])], 0)
    logits = model(batch.tokens, batch.positions, batch.segments, size=2)["logits"]
    np.testing.assert_allclose(scores.reshape(2, 2), logits.numpy(), atol=20 * 1e-3)


def test_neither_the_passes_nor_the_neighbours_change_a_score() -> None:
    model = net()
    queries, candidates = case([[1, 2], [3, 5], []], [[1, 4], [2, 5, 3], [1]])
    whole = score_late(model, TEXTS, stored(model), queries, candidates, batch_tokens=1000)
    parts = stored(model, batch_tokens=1)
    single = score_late(model, TEXTS, parts, queries, candidates, batch_tokens=1)
    np.testing.assert_allclose(single, whole, atol=2e-2)


def test_a_request_encodes_the_history_and_nothing_else() -> None:
    model = net()
    store = stored(model)
    queries, candidates = case([[1, 2]], [[3, 4, 5]])
    with counting() as work:
        score_late(model, TEXTS, store, queries, candidates, batch_tokens=100)
    # [CLS] 11 12 13 [SEP]; the items have 5 + 6 + 7 stored tokens of 32 numbers
    matrices = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    attention = 2 * 4 * 5 * 5 * 32
    assert work.counts == {
        "tokens": 5,
        "passes": 1,
        "flops": 2 * 5 * matrices + attention + 2 * 5 * 18 * 32,
        "bytes": 18 * 32 * 2,
    }
    assert {"tokenize", "forward", "gather", "interact"} <= work.seconds.keys()


def test_every_item_is_encoded_once() -> None:
    with counting() as work:
        stored(net())
    assert work.counts["tokens"] == LENGTHS.sum() == 3 + 4 + 5 + 6 + 7


def test_a_projection_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="at most the 32 numbers"):
        net(size=33)
    with pytest.raises(ValueError, match="mode: late"):
        Config(late_size=8)


def test_item_vectors_are_saved_and_not_computed_again(tiny: Dataset, tmp_path: Path) -> None:
    config = {"base_model": str(save_model(tmp_path / "base")), "mode": "late", "max_steps": 0}
    config |= {"dtype": "float32", "item_tokens": 8, "history_tokens": 40}
    model = Bert(config)
    model.fit(tiny, FitContext())
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    tokens = int(model._texts.candidates.lengths.sum())
    assert (folder / "item_vectors.f16").stat().st_size == tokens * 32 * 2
    loaded = Bert(config)
    loaded.load(folder, tiny)
    queries = tiny.queries(np.arange(2))
    candidates = Candidates.bare(np.array([0, 3, 6]), np.array([1, 2, 3, 4, 5, 6], np.int32))
    with counting() as work:
        scores = loaded.score(queries, candidates).values
    histories = [loaded._texts.history(h) for h in queries.history]
    assert work.counts["tokens"] == sum(map(len, histories))
    np.testing.assert_array_equal(scores, model.score(queries, candidates).values)
