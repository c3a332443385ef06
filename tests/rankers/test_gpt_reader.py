from __future__ import annotations

import numpy as np
import pytest
import torch
from gpt_models import save_model

from fusion.errors import ConfigError
from rankers.gpt_base import load_model
from rankers.gpt_cache import HistoryCache
from rankers.gpt_reader import Branches, Reader
from rankers.gpt_tree import grow, lay_out
from rankers.packing import pack

KINDS = ["llama", "gpt2", "granite"]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = save_model(tmp_path_factory.mktemp(request.param), request.param)
    return load_model(folder, torch.float32)


def branches(history: list[int], *items: list[int]) -> Branches:
    return Branches(np.array(history), grow([np.array(item) for item in items]))


def test_places_are_counted_row_after_row(model) -> None:
    reader = Reader(model)
    rows = [branches([5, 6, 7], [9, 10]), branches([8], [11], [12])]
    places = np.array([2, 0, 0, 3, 4, 5])  # 5 6 7 9 10, twice 5 6 7, 8, 8 11, 8 12
    targets = np.array([3, 4, 5, 6, 7, 8])
    texts = [[5, 6, 7, 9, 10], [5, 6, 7], [5, 6, 7], [8], [8, 11], [8, 12]]
    with torch.no_grad():
        want = torch.stack([model(input_ids=torch.tensor([t])).logits[0, -1] for t in texts])
    found = reader.log_likelihood(rows, places, targets)
    logs = torch.log_softmax(want, 1)[range(6), targets]
    np.testing.assert_allclose(found, logs, atol=1e-4)
    found = reader.difference(rows, places, 17, 23)
    np.testing.assert_allclose(found, want[:, 17] - want[:, 23], atol=1e-4)


def test_training_reads_the_same_difference(model) -> None:
    reader = Reader(model)
    packed = pack([[5, 6, 7], [8]], [[[9, 10]], [[11], [12]]], 0)
    with torch.no_grad():
        found = reader.answer(packed, np.array([4, 6, 7]), 17, 23)
    rows = [branches([5, 6, 7], [9, 10]), branches([8], [11], [12])]
    want = reader.difference(rows, np.array([2, 4, 5]), 17, 23)
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_the_model_is_left_as_it_was(model) -> None:
    before = model.config._attn_implementation
    Reader(model).difference([branches([5], [6])], np.array([0]), 1, 2)
    assert model.config._attn_implementation == before


def test_a_head_that_is_more_than_a_matrix_is_noticed(tmp_path) -> None:
    readers = [
        Reader(load_model(save_model(tmp_path / kind, kind), torch.float32), HistoryCache(99))
        for kind in ("llama", "granite")
    ]
    assert [reader.head.plain for reader in readers] == [True, False]
    assert [reader.cache.on for reader in readers] == [True, False]


def test_a_model_that_cannot_be_packed_is_refused(tmp_path) -> None:
    bloom = load_model(save_model(tmp_path, "bloom"), torch.float32)
    with pytest.raises(ConfigError, match="rotary or absolute positions"):
        Reader(bloom)


def test_a_model_that_ignores_every_mask_is_refused(model) -> None:
    class Deaf(Reader):
        def _run(self, layout, plan, logits_at=None):
            ids = torch.from_numpy(layout.tokens)[None]
            return self.decoder(input_ids=ids).last_hidden_state[0]

    with pytest.raises(ConfigError, match="obeys a block mask"):
        Deaf(model)


def test_a_model_that_takes_no_attention_function_gets_the_dense_mask(model, monkeypatch) -> None:
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def register(name: str, _: object) -> None:  # as an architecture that goes its own way
        AttentionInterface._global_mapping[name] = sdpa_attention_forward

    monkeypatch.setattr(AttentionInterface, "register", register)
    reader = Reader(model, HistoryCache(2**20))
    assert not reader.trees
    assert not reader.cache.on
    assert reader.budget(4096) == 1024
    monkeypatch.undo()
    rows = [branches([5, 6], [7, 8], [7, 9]), branches([3], [4])]
    places = np.array([0, 2, 3, 5])
    want = Reader(model).difference(rows, places, 17, 23)
    np.testing.assert_allclose(reader.difference(rows, places, 17, 23), want, atol=1e-4)


def test_a_history_known_in_whole_with_nothing_to_read_takes_no_pass(model) -> None:
    reader = Reader(model, HistoryCache(2**20))
    if not reader.cache.on:
        pytest.skip("this model keeps nothing")
    history = np.arange(3, 23)
    empty = grow([np.array([4])]).pruned()
    targets = np.array([4, 9])
    first = reader.log_likelihood([Branches(history, empty)], np.zeros(2, int), targets)
    entry, known = reader.know(history)
    assert known == 20
    again = [Branches(history, empty, entry, known)]
    assert len(lay_out([history], [empty], [known]).tokens) == 0
    found = reader.log_likelihood(again, np.zeros(2, int), targets)
    np.testing.assert_allclose(found, first, atol=1e-5)
