from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bert_models import encoder, tokenizer

from fusion import Candidates, Dataset
from fusion.errors import ConfigError
from fusion.protocols import FitContext
from rankers.bert import Bert
from rankers.bert_layers import evenly_spaced, keep_layers


def deep(layers: int, kind: str = "bert") -> Any:
    """An encoder with an even number of layers, all different."""
    parts = [encoder(kind, seed=seed) for seed in range(layers // 2)]
    model = parts[0]
    model.encoder.layer = torch.nn.ModuleList(x for part in parts for x in part.encoder.layer)
    model.config.num_hidden_layers = layers
    return model


def test_the_layers_of_distilbert() -> None:
    # make_student of the DistilBERT and DistilBART code: 12 -> 6 and 12 -> 3
    assert evenly_spaced(12, 6) == [0, 2, 4, 7, 9, 11]
    assert evenly_spaced(12, 3) == [0, 6, 11]


@pytest.mark.parametrize("n", range(1, 14))
def test_they_rise_from_the_first_to_the_last(n: int) -> None:
    for keep in range(1, n + 1):
        found = evenly_spaced(n, keep)
        assert len(found) == keep == len(set(found))
        assert found == sorted(found)
        assert found[0] == 0
        if keep > 1:
            assert found[-1] == n - 1
            # evenly: no gap is more than one wider than another
            assert np.ptp(np.diff(found)) <= 1
    assert evenly_spaced(n, n) == list(range(n))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_what_is_left_are_those_layers(kind: str) -> None:
    whole, cut = deep(6, kind), deep(6, kind)
    keep_layers(cut, 3, "x")
    assert cut.config.num_hidden_layers == len(cut.encoder.layer) == 3
    for layer, source in zip(cut.encoder.layer, (0, 3, 5), strict=True):
        for a, b in zip(layer.parameters(), whole.encoder.layer[source].parameters(), strict=True):
            assert torch.equal(a, b)
    tokens = torch.tensor([[1, 5, 6]])
    with torch.inference_mode():
        state = whole.embeddings(input_ids=tokens)
        for source in (0, 3, 5):
            state = whole.encoder.layer[source](state)
            state = state[0] if isinstance(state, tuple) else state
        torch.testing.assert_close(cut(input_ids=tokens).last_hidden_state, state)


def test_all_and_as_many_as_there_are_change_nothing() -> None:
    model = encoder()
    before = list(model.encoder.layer)
    for layers in (None, 2):
        keep_layers(model, layers, "x")
        assert list(model.encoder.layer) == before


def test_what_cannot_be_cut() -> None:
    with pytest.raises(ConfigError, match=r"'mine'.*at most the 2 that it has, got 3"):
        keep_layers(encoder(), 3, "mine")
    with pytest.raises(ConfigError, match=r"encoder\.layer.*DistilBertModel"):
        keep_layers(encoder("distilbert"), 1, "mine")


def test_a_pruned_ranker_is_fitted_saved_and_loaded(tmp_path: Path, tiny: Dataset) -> None:
    base = tmp_path / "base"
    deep(4).save_pretrained(base)
    tokenizer().save_pretrained(base)
    config = {"base_model": str(base), "layers": 2, "dtype": "float32", "item_tokens": 8}
    config |= {"history_tokens": 40, "max_steps": 2, "batch_size": 4, "validation_users": 0}
    model = Bert(config)
    model.fit(tiny, FitContext())
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    loaded = Bert(config)
    loaded.load(tmp_path / "saved", tiny)
    assert len(loaded._net.encoder.encoder.layer) == 2
    assert loaded._net.encoder.config.num_hidden_layers == 2
    rows = Candidates.bare(np.array([0, 30]), np.arange(30, dtype=np.int32))
    queries = tiny.queries(np.array([3]))
    np.testing.assert_array_equal(
        loaded.score(queries, rows).values, model.score(queries, rows).values
    )
    with pytest.raises(ConfigError, match="at most the 4"):
        Bert({**config, "layers": 5}).fit(tiny, FitContext())
