from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gpt_models import save_model

from finetuning.settings import Tune
from fusion.errors import ArtifactError
from rankers.gpt_base import load_model, vocabulary
from rankers.gpt_reader import Reader
from rankers.gpt_scoring import likelihoods
from rankers.gpt_tuning import begin, changes_of, soft_tokens, with_changes

KINDS = ["head", "last", "lora", "dora", "ia3", "prompt"]
SHORT = {"rank": 2, "tokens": 3, "layers": 1}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp(request.param), request.param)


def tune_of(kind: str) -> Tune:
    return Tune(kind=kind, **SHORT)


def header(tune: Tune) -> np.ndarray:
    return np.array([*soft_tokens(tune, 320), 0, 5, 9, 30])


def scored(model, tune: Tune) -> np.ndarray:
    items = [np.array([9, 8, 7]), np.array([9, 4])]
    found = likelihoods(Reader(model), [header(tune)], [items], longest=99, budget=99)
    return found[0]


def nudge(model) -> None:
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_makes_the_trained_model_again(folder: Path, kind: str) -> None:
    tune = tune_of(kind)
    causal = load_model(folder, torch.float32)
    trained = begin(causal, tune, seed=1)
    nudge(trained)
    trained.eval()
    ids = torch.from_numpy(header(tune))[None]
    with torch.no_grad():
        want = causal(input_ids=ids).logits
    changes = changes_of(trained, tune)
    plain = with_changes(load_model(folder, torch.float32), tune, changes)
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=ids).logits, want, atol=1e-3, rtol=1e-3)
    assert not any(p.requires_grad for p in plain.parameters())
    size = sum(array.size for array in changes.values())
    assert size < sum(p.numel() for p in plain.parameters())
    untouched = with_changes(
        load_model(folder, torch.float32), tune, changes_of(begin(
            load_model(folder, torch.float32), tune, seed=1), tune)
    )  # fmt: skip
    assert np.abs(scored(plain, tune) - scored(untouched, tune)).max() > 1e-3
    # ... and goes on from there
    again = begin(load_model(folder, torch.float32), tune, changes)
    for name, array in changes_of(again, tune).items():
        np.testing.assert_allclose(array, changes[name])


def test_which_weights_are_trained(folder: Path) -> None:
    def names(kind: str) -> set[str]:
        model = begin(load_model(folder, torch.float32), tune_of(kind))
        return {name for name, p in model.named_parameters() if p.requires_grad}

    everything = {name for name, _ in load_model(folder, torch.float32).named_parameters()}
    assert names("full") == everything
    assert names("none") == set()
    assert all(".1." in name or "norm" in name or "ln_f" in name for name in names("last"))
    assert all("lora" in name for name in names("dora"))
    assert {name.rpartition(".")[2] for name in names("prompt")} == {"soft_prompt"}


def test_prompt_tokens_start_as_words_and_are_read_packed(folder: Path) -> None:
    tune = tune_of("prompt")
    assert vocabulary(folder) == 320
    plain = load_model(folder, torch.float32)
    table = plain.get_input_embeddings().weight.detach().clone()
    begin(plain, tune, seed=3)
    soft = next(p for name, p in plain.named_parameters() if name.endswith("soft_prompt"))
    drawn = [int((table - row).abs().sum(1).argmin()) for row in soft.detach()]
    torch.testing.assert_close(table[drawn], soft.detach())
    # as long as nothing is learnt, the tokens are those words
    words = np.array([*drawn, 0, 5, 9, 30])
    items = [np.array([9, 8, 7]), np.array([9, 4])]
    other = load_model(folder, torch.float32)
    want = likelihoods(Reader(other), [words], [items], longest=99, budget=99)[0]
    np.testing.assert_allclose(scored(plain, tune), want, atol=1e-5)


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    changes = {"nowhere.weight": np.zeros((2, 2), np.float32)}
    with pytest.raises(ArtifactError, match="nowhere"):
        begin(load_model(folder, torch.float32), tune_of("last"), changes)
