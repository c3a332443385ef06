from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bert_models import pairs, save_model
from test_bert import Interrupted, weights

import rankers.bert_training as training
from fusion.protocols import FitContext
from rankers.bert import Bert

WORDS = "encoder.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("base"))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = "[UNK]"  # one of the 64 that the tiny encoder has
    tokenizer.save_pretrained(folder)
    return folder


def make(base: Path, **options: Any) -> Bert:
    config = {"base_model": str(base), "dtype": "float32", "item_tokens": 8, "history_tokens": 40}
    return Bert({**config, "max_steps": 0, **options}, name="bert")


def pretraining(steps: int) -> dict[str, Any]:
    return {"steps": steps, "learning_rate": 3e-3, "batch_size": 8, "tokens": 12, "mask": 0.3}


def test_the_masked_loss_falls_and_the_encoder_moves(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    losses = []
    with caplog.at_level(logging.INFO):
        for steps in (1, 40):
            model = make(base, pretraining=pretraining(steps))
            model.fit(pairs(), FitContext())
            assert model.report["pretraining_steps"] == steps
            losses.append(model.report["pretraining_loss"])
    # the mean over the steps: it falls where the later ones are lower
    assert losses[1] < losses[0] - 0.3
    assert "no masked-word head; a new one is drawn" in caplog.text
    plain = make(base)
    plain.fit(pairs(), FitContext())
    assert weights(plain).keys() == weights(model).keys()
    assert not np.array_equal(weights(plain)[WORDS], weights(model)[WORDS])


@pytest.mark.parametrize("mode", ["cross", "late"])
def test_other_modes_begin_from_the_same_pretrained_encoder(base: Path, mode: str) -> None:
    tables = []
    for which in ("shared", mode):
        model = make(base, mode=which, layers=1, pretraining=pretraining(3))
        model.fit(pairs(), FitContext(seed=1))
        name = WORDS.replace("encoder.", "encoder.bert.") if which == "cross" else WORDS
        tables.append(weights(model)[name])
    np.testing.assert_allclose(*tables, atol=1e-4)


def test_a_pretrained_encoder_is_found_again_after_an_interruption(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rankers.bert_loading as loading

    options: dict[str, Any] = {"pretraining": pretraining(2), "max_steps": 2, "batch_size": 4}
    whole = make(base, **options)
    whole.fit(pairs(), FitContext())

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise Interrupted

    context = FitContext(workdir=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(training, "fine_tune", interrupted)
        with pytest.raises(Interrupted):
            make(base, **options).fit(pairs(), context)
    monkeypatch.setattr(loading, "adapt_masked", interrupted)  # not done again
    resumed = make(base, **options)
    resumed.fit(pairs(), context)
    for name, value in weights(whole).items():
        np.testing.assert_allclose(weights(resumed)[name], value, atol=1e-5)
    assert not list(tmp_path.iterdir())
