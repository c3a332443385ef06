from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetuning_models import bert, classifier, gpt2, tokenizer
from finetuning_trainers import weights
from transformers import Trainer

from finetuning import pretraining
from finetuning.pretraining import adapt_causal, adapt_masked, rows_of
from finetuning.settings import Pretraining
from fusion.errors import ConfigError

TEXTS = [f"the {g} story {n}" for g in ("crime", "space", "love") for n in range(30)]
TOLD = Pretraining(steps=40, learning_rate=3e-3, batch_size=8, tokens=16)


def test_texts_are_put_end_to_end() -> None:
    words = tokenizer()
    told = words(["the story", "war"])["input_ids"]
    flat = [*told[0], *told[1]]  # [CLS] the story [SEP] [CLS] war [SEP]
    assert len(flat) == 7
    assert rows_of(words, ["the story", " ", "war"], 3) == [flat[:3], flat[3:6]]
    assert rows_of(words, ["war"], 10) == [told[1]]
    assert rows_of(words, ["", "  "], 3) == []


def test_a_tokenizer_that_ends_no_text() -> None:
    from tokenizers.processors import TemplateProcessing

    words = tokenizer()
    words.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    end = words.eos_token_id
    assert rows_of(words, ["war", "war"], 4) == [[10, end, 10, end]]


def test_an_encoder_learns_the_words_of_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bert()
    before = weights(model)
    wholes: list[Any] = []
    usual = pretraining._with_word_head

    def kept(model: Any) -> Any:
        wholes.append(usual(model))
        return wholes[-1]

    monkeypatch.setattr(pretraining, "_with_word_head", kept)
    told = TOLD.model_copy(update={"steps": 60})
    report = adapt_masked(model, tokenizer(), TEXTS, told, seed=0)
    assert report["steps"] == 60
    after = weights(model)
    assert not torch.equal(
        after["encoder.layer.0.attention.self.query.weight"],
        before["encoder.layer.0.attention.self.query.weight"],
    )
    whole = wholes[0]
    assert whole.bert is model, "trained in place"
    table = model.get_input_embeddings().weight
    assert whole.get_output_embeddings().weight is table, "the head is tied to the encoder's words"
    few = TOLD.model_copy(update={"steps": 3})
    assert report["loss"] < adapt_masked(bert(), tokenizer(), TEXTS, few, seed=0)["loss"] - 0.5
    assert not model.training


def test_a_classifier_is_trained_without_its_head() -> None:
    model = classifier()
    before = weights(model)
    adapt_masked(model, tokenizer(), TEXTS, TOLD.model_copy(update={"steps": 2}), seed=0)
    after = weights(model)
    assert torch.equal(before["classifier.weight"], after["classifier.weight"])
    name = "bert.encoder.layer.1.output.dense.weight"
    assert not torch.equal(before[name], after[name])


def test_a_causal_model_learns_to_go_on() -> None:
    model = gpt2()
    few = TOLD.model_copy(update={"steps": 3})
    first = adapt_causal(model, tokenizer(), TEXTS, few, seed=0)["loss"]
    assert adapt_causal(model, tokenizer(), TEXTS, TOLD, seed=0)["loss"] < first - 0.5
    ids = torch.tensor([tokenizer()("the crime")["input_ids"][:-1]])
    guess = model(input_ids=ids).logits[0, -1].argmax().item()
    assert tokenizer().convert_ids_to_tokens(guess) == "story"


def test_frozen_stays_frozen_afterwards() -> None:
    model = gpt2().requires_grad_(False)
    model.transformer.ln_f.requires_grad_(True)
    adapt_causal(model, tokenizer(), TEXTS, TOLD.model_copy(update={"steps": 1}), seed=0)
    asked = {name for name, p in model.named_parameters() if p.requires_grad}
    assert asked == {"transformer.ln_f.weight", "transformer.ln_f.bias"}


def test_the_seed_decides_and_no_global_generator_moves() -> None:
    few = TOLD.model_copy(update={"steps": 2})
    state = torch.random.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        model = bert()
        adapt_masked(model, tokenizer(), TEXTS, few, seed=seed)
        found.append(weights(model)["embeddings.word_embeddings.weight"])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_killed_run_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = TOLD.model_copy(update={"steps": 6})
    monkeypatch.setattr(pretraining, "_SAVE_EVERY", 2)
    expected = bert()
    adapt_masked(expected, tokenizer(), TEXTS, few, seed=0, workdir=tmp_path / "whole")
    usual, steps = Trainer.training_step, []

    def killed(*args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return usual(*args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        adapt_masked(bert(), tokenizer(), TEXTS, few, seed=0, workdir=tmp_path / "cut")
    found = bert()
    adapt_masked(found, tokenizer(), TEXTS, few, seed=0, workdir=tmp_path / "cut")
    assert len(steps) == 6 + 2, "the first four steps were not taken again"
    for name, tensor in weights(expected).items():
        torch.testing.assert_close(weights(found)[name], tensor)


def test_off_and_nothing_to_read() -> None:
    model = bert()
    before = weights(model)
    assert adapt_masked(model, tokenizer(), TEXTS, Pretraining(), seed=0) == {"steps": 0.0}
    assert adapt_causal(gpt2(), tokenizer(), TEXTS, Pretraining(), seed=0) == {"steps": 0.0}
    assert adapt_masked(model, tokenizer(), ["", " "], TOLD, seed=0) == {"steps": 0.0}
    assert all(torch.equal(before[name], p) for name, p in weights(model).items())


def test_a_model_of_the_wrong_kind() -> None:
    with pytest.raises(ConfigError, match="a causal language model"):
        adapt_causal(bert(), tokenizer(), TEXTS, TOLD, seed=0)
    without = tokenizer()
    without.mask_token = None
    with pytest.raises(ConfigError, match="a mask token"):
        adapt_masked(bert(), without, TEXTS, TOLD, seed=0)


@pytest.mark.real
def test_the_real_encoder_reads_a_catalogue_better_afterwards() -> None:
    from transformers import AutoModel, AutoTokenizer

    from fusion.pretrained import resolve_base_model

    folder = resolve_base_model("all-MiniLM-L6-v2").folder
    model = AutoModel.from_pretrained(folder)
    words = AutoTokenizer.from_pretrained(folder)
    told = Pretraining(steps=4, batch_size=4, tokens=32, learning_rate=1e-4)
    texts = [f"Story {n}, a crime novel set in space" for n in range(40)]
    first = adapt_masked(model, words, texts, told, seed=0)
    again = adapt_masked(model, words, texts, told, seed=0)
    assert again["loss"] < first["loss"]
