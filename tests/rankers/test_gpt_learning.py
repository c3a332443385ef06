from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gpt_models import save_model, tokenizer

from finetuning.propensity import weights
from finetuning.settings import Propensity
from fusion import Dataset, Queries
from fusion.candidates import Candidates
from fusion.errors import ConfigError, DataError
from fusion.protocols import FitContext, Retriever
from rankers.gpt import Gpt
from rankers.gpt_config import GptConfig
from rankers.gpt_examples import Example
from rankers.gpt_learning import lesson
from rankers.gpt_modes import mode_of

TRAINING = {"max_tokens": 800, "refit_tokens": 200, "eval_steps": 3, "batch_size": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"))


def make(folder: Path, **changes) -> Gpt:
    training = TRAINING | changes.pop("training", {})
    base = {"base_model": str(folder), "dtype": "float32", "prompt": {"history": 4}}
    return Gpt(base | {"training": training} | changes, name="gpt")


def column(model: Gpt, data: Dataset, users: int = 2) -> np.ndarray:
    items = np.tile(np.arange(data.n_items, dtype=np.int32), users)
    offsets = np.arange(users + 1, dtype=np.int64) * data.n_items
    return model.score(data.queries(np.arange(users)), Candidates.bare(offsets, items)).values


def fitted(folder: Path, data: Dataset, **changes) -> Gpt:
    model = make(folder, **changes)
    model.fit(data, FitContext())
    return model


def reloaded(model: Gpt, data: Dataset, path: Path) -> Gpt:
    model.save(path)
    again = Gpt(model.config, name="gpt")
    again.load(path, data)
    return again


def rows(data: Dataset, context: FitContext | None = None, **config) -> list[Example]:
    settings = GptConfig.model_validate({"prompt": {"history": 4}, **config})
    mode = mode_of(settings, data, tokenizer())
    rng = np.random.default_rng(2)
    context = context or FitContext()
    return lesson(settings, data, data, mode, tokenizer(), context, rng, 20_000)


def spelled(example: Example) -> str:
    return tokenizer().decode(np.concatenate([example.history, *example.candidates]).tolist())


@pytest.mark.parametrize("kind", ["head", "last", "dora", "ia3", "prompt"])
def test_every_kind_of_tuning_is_trained_and_saved_small(
    folder: Path, tiny: Dataset, tmp_path: Path, kind: str
) -> None:
    tune = {"kind": kind, "layers": 1, "tokens": 3}
    model = fitted(folder, tiny, tune=tune, training={"learning_rate": 1e-2})
    before = column(model, tiny)
    again = reloaded(model, tiny, tmp_path)
    np.testing.assert_array_equal(column(again, tiny), before)
    assert (tmp_path / "adapter.safetensors").is_file()
    assert not (tmp_path / "base").exists()
    raw = fitted(folder, tiny, tune="none")
    assert np.abs(before - column(raw, tiny)).max() > 1e-4
    first = {name: array.copy() for name, array in again._adapter.items()}
    again.refit(tiny, FitContext())
    assert any(not np.array_equal(first[name], again._adapter[name]) for name in first)


@pytest.mark.parametrize(
    "config",
    [
        {"score": "likelihood", "objective": "multi_task"},
        {"score": "yes_no", "objective": "multi_task", "r_drop": 1.0},
        {"score": "yes_no", "objective": "bpr", "adversarial": "fgm"},
        {"score": "yes_no", "objective": "lambda", "r_drop": 1.0},
        {"score": "yes_no", "objective": "rating"},
        {"score": "listwise", "objective": "softmax", "listwise": {"list_size": 6}},
        {"score": "likelihood", "r_drop": 0.5, "adversarial": {"kind": "pgd", "steps": 2}},
        {"score": "likelihood", "optimization": {"group_by_length": True, "accumulate": 2}},
        {"score": "embedding", "optimization": {"checkpoint_activations": True}},
        {"score": "likelihood", "prompt": {"history": 4, "ratings": True, "gaps": True}},
        {"score": "embedding", "embedding": {"pooling": "last", "center": False}},
    ],
    ids=lambda config: "-".join(str(value) for value in config.values())[:40],
)
def test_every_recipe_trains(folder: Path, tiny: Dataset, config: dict) -> None:
    recipe = {"learning_rate": 1e-2, "max_steps": 3}
    raw = column(fitted(folder, tiny, score=config["score"], tune="none"), tiny)
    found = column(fitted(folder, tiny, **config, training=recipe), tiny)
    assert np.isfinite(found).all()
    assert np.abs(found - raw).max() > 1e-4


@pytest.mark.parametrize("mode", ["listwise", "embedding"])
def test_training_learns_what_follows_what(folder: Path, tiny: Dataset, mode: str) -> None:
    walks = tiny.where(np.arange(len(tiny)) - tiny.offsets[tiny.interactions.users] < 5)
    users = np.arange(walks.n_users)
    queries = walks.queries_before(users, walks.offsets[users] + 4)
    items = np.tile(np.arange(walks.n_items, dtype=np.int32), len(users))
    candidates = Candidates.bare(np.arange(len(users) + 1, dtype=np.int64) * walks.n_items, items)
    target = walks.interactions.items[walks.offsets[users] + 4]

    def mean_rank(model: Gpt) -> float:
        scores = model.score(queries, candidates).values.reshape(len(users), -1)
        return float((scores >= scores[users, target][:, None]).sum(1).mean())

    lists = {"list_size": 5, "permutations": 1}
    recipe = {"max_tokens": 200_000, "epochs": 7, "learning_rate": 5e-3, "validation_users": 0}
    if mode == "embedding":
        recipe |= {"batch_size": 16}
    tuned = fitted(folder, walks, score=mode, tune="full", listwise=lists, training=recipe)
    # of 30, by chance 15.5
    assert mean_rank(tuned) < 9


def test_pretraining_makes_a_base_of_its_own(folder: Path, tiny: Dataset, tmp_path: Path) -> None:
    block = {"steps": 3, "batch_size": 4, "tokens": 16, "learning_rate": 1e-2}
    plain = fitted(folder, tiny, tune="none")
    for tune in ("none", "lora"):
        model = fitted(folder, tiny, tune=tune, pretraining=block)
        before = column(model, tiny)
        assert np.abs(before - column(plain, tiny)).max() > 1e-3
        (tmp_path / tune).mkdir()
        again = reloaded(model, tiny, tmp_path / tune)
        np.testing.assert_array_equal(column(again, tiny), before)
        assert (tmp_path / tune / "base" / "model.safetensors").is_file()
        assert (tmp_path / tune / "adapter.safetensors").is_file() == (tune == "lora")
        again.refit(tiny, FitContext())  # from its own base
        (tmp_path / f"{tune}2").mkdir()
        again.save(tmp_path / f"{tune}2")
        assert (tmp_path / f"{tune}2" / "base" / "model.safetensors").is_file()


@pytest.mark.parametrize("soup", ["uniform", "greedy"])
def test_seeds_are_averaged(folder: Path, tiny: Dataset, soup: str, monkeypatch) -> None:
    import rankers.gpt_learning as learning

    ends = []
    plain = learning.train

    def noted(model, *args, **kwargs):
        report = plain(model, *args, **kwargs)
        ends.append({n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad})
        return report

    monkeypatch.setattr(learning, "train", noted)
    model = fitted(folder, tiny, seeds={"count": 2, "soup": soup})
    assert len(ends) == 2
    found = model._adapter
    for name in ends[0]:
        short = name.replace(".default", "")
        both = [end[name] for end in ends]
        means = [*both, (both[0] + both[1]) / 2]
        wanted = means[2:] if soup == "uniform" else means
        close = [torch.allclose(torch.from_numpy(found[short]), m, atol=1e-6) for m in wanted]
        assert any(close)
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


class Fixed(Retriever):
    """Recommends the items in their order, whatever was asked."""

    def fit(self, data: Dataset, context: FitContext) -> None:
        self.n = data.n_items

    def retrieve(self, queries: Queries, n: int) -> Candidates:
        lists = [np.setdiff1d(np.arange(self.n), barred)[:n] for barred in queries.excluded]
        offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
        found = Candidates.bare(offsets, np.concatenate(lists).astype(np.int32))
        scores = -found.items.astype(np.float32)
        return replace(found, models=("fixed",), scores=scores[:, None], why=np.zeros(
            (len(found), 1), np.uint8))  # fmt: skip

    def score(self, queries, candidates):
        raise NotImplementedError

    save = load = score


@pytest.mark.parametrize("score", ["yes_no", "listwise"])
def test_hard_negatives_come_from_the_models_named(tiny: Dataset, score: str) -> None:
    block = {"share": 1.0, "models": ["fixed"], "depth": 5, "skip": 1}
    assert make(Path("x"), score=score, hard_negatives=block).needs() == ("fixed",)
    assert make(Path("x"), score=score).needs() == ()
    model = Fixed()
    model.fit(tiny, FitContext())
    one = tiny.where(tiny.interactions.users < 2)
    context = FitContext(fitted={"fixed": model})
    made = rows(one, context, score=score, hard_negatives=block, training={"negatives": 3})
    titles = tiny.catalog.titles
    met = [set(one.histories[user].tolist()) for user in (0, 1)]
    allowed = [
        {titles[i] for i in np.setdiff1d(np.arange(tiny.n_items), list(m))[1:5]} for m in met
    ]
    for row in made[:6]:
        told = [tokenizer().decode(q.tolist()) for q in row.candidates[1:]]
        asked = {t for q in told for t in titles if f" {t}?" in q or f" {t}\n" in q}
        assert len(asked) == 3
        assert any(asked <= able for able in allowed)
    with pytest.raises(ConfigError, match="fixed"):
        rows(one, FitContext(), score=score, hard_negatives=block)


def test_propensity_weighs_what_is_learnt(tiny: Dataset) -> None:
    block = {"power": 0.5, "clip": 4.0}
    worth = weights(tiny.popularity, Propensity(**block))
    spelled_as = {t: worth[i] for i, t in enumerate(tiny.catalog.titles)}
    for row in rows(tiny, score="yes_no", propensity=block)[:20]:
        question = tokenizer().decode(row.candidates[0].tolist())
        title = question.removeprefix("Next choice: ").removesuffix("? Answer:")
        assert row.weights == pytest.approx(spelled_as[title])
    for row in rows(tiny, propensity=block)[:5]:
        lines = tokenizer().decode(row.candidates[0].tolist()).splitlines()
        lengths = [len(tokenizer()(line + "\n")["input_ids"]) for line in lines]
        want = np.repeat([spelled_as[line] for line in lines], lengths)
        np.testing.assert_allclose(row.weights, want)


def test_augmentation_changes_histories_and_words(tiny: Dataset, tmp_path: Path) -> None:
    plain = rows(tiny, score="yes_no")
    crop = rows(tiny, score="yes_no", augmentation={"crop": 1.0, "crop_share": 0.5})
    assert np.mean([len(r.history) for r in crop]) < np.mean([len(r.history) for r in plain])
    words = tmp_path / "words.json"
    words.write_text(json.dumps({"story": ["tale"]}), "utf-8")
    block = {"synonyms": str(words), "synonym_share": 1.0}
    for score in ("likelihood", "listwise", "embedding"):
        told = [spelled(row) for row in rows(tiny, score=score, augmentation=block)]
        new = ["tale" in text.lower() for text in told]
        assert 0.2 < np.mean(new) < 0.8


def test_ratings_are_scaled_and_asked_for(tiny: Dataset, folder: Path) -> None:
    made = rows(tiny, score="yes_no", objective="rating")
    labels = {label for row in made for label in row.labels}
    assert min(labels) == 0.0
    assert max(labels) == 1.0
    events = tiny.interactions
    bare = Dataset(
        tiny.users, tiny.catalog,
        replace(events, ratings=np.full(len(events), np.nan, np.float32)), tiny.report,
    )  # fmt: skip
    with pytest.raises(DataError, match="ratings"):
        make(folder, score="yes_no", objective="rating").fit(bare, FitContext())


def test_both_kinds_of_rows_share_the_budget(tiny: Dataset) -> None:
    made = rows(tiny, objective="multi_task")
    sizes = [sum(r.size for r in made if bool(r.labels) == asked) for asked in (False, True)]
    assert all(0 < size <= 10_000 for size in sizes)
