from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bert_models import pairs, save_model
from test_bert import Interrupted, ask, weights
from test_bert_draws import Alphabet

from fusion import Dataset
from fusion.errors import ConfigError, DataError
from fusion.protocols import FitContext
from rankers.bert import Bert
from rankers.bert_training import train

Make = Callable[..., Bert]
#: a random order of ten has an NDCG@10 of sum(1 / log2(1 + rank)) / 10
RANDOM = 0.454


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    base = save_model(tmp_path_factory.mktemp("base"))

    def build(**options: Any) -> Bert:
        config = {
            "base_model": str(base),
            "dtype": "float32",
            "item_tokens": 8,
            "history_tokens": 40,
            "max_steps": 2,
            "batch_size": 4,
            "evaluate_every": 2,
            "validation_candidates": 9,
            "validation_users": 40,
            "dropout": 0.0,
        }
        return Bert({**config, **options}, name="bert")

    return build


def ordering(model: Bert, data: Dataset) -> np.ndarray:
    """Scores less each user's mean: a ranking loss leaves the head's bias to rounding errors."""
    scores = ask(model, data)
    return scores - scores.mean(axis=1, keepdims=True)


def rated(data: Dataset) -> Dataset:
    """War stories are rated 5, others 2."""
    war = np.array(["war" in text for text in data.catalog.texts])
    events = data.interactions
    ratings = np.where(war[events.items], 5, 2).astype(np.float32)
    return replace(data, interactions=replace(events, ratings=ratings))


@pytest.mark.parametrize(
    "head",
    [
        {"head": "pairwise"},
        {"head": "pairwise", "loss": "ranknet"},
        {"head": "listwise"},
        {"head": "listwise", "loss": "lambda"},
        {"head": "multi_task"},
        {"head": "multi_task", "task_weights": "uncertainty"},
    ],
)
def test_every_head_learns_what_comes_next(make: Make, head: dict[str, str]) -> None:
    model = make(max_steps=30, batch_size=8, evaluate_every=30, learning_rate=2e-3, **head)
    model.fit(rated(pairs()), FitContext(seed=0))
    assert model.report["untrained"] < 0.6
    assert model.report["validation"] > RANDOM + 0.1
    assert model.report["validation"] > model.report["untrained"]


@pytest.mark.parametrize("mode", ["cross", "late"])
def test_two_tasks_survive_a_save_in_the_other_modes(
    make: Make, tiny: Dataset, tmp_path: Path, mode: str
) -> None:
    data = rated(tiny)
    config = {"mode": mode, "head": "multi_task", "head_learning_rate": 0.1}
    model = make(**config)
    model.fit(data, FitContext())
    model.save(tmp_path)
    loaded = make(**config)
    loaded.load(tmp_path, data)
    np.testing.assert_allclose(ask(loaded, data), ask(model, data), atol=1e-5)
    mine, theirs = weights(model), weights(loaded)
    assert mine["objective.second.weight"].any()
    for name in mine:
        np.testing.assert_array_equal(mine[name], theirs[name])
    # the score is a logit, not a rating
    assert ask(model, data).mean() < 2


def test_two_tasks_need_ratings(make: Make) -> None:
    with pytest.raises(DataError, match="head: multi_task"):
        make(head="multi_task").fit(pairs(), FitContext())


def test_accumulated_batches_are_one_large_batch(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rankers.bert_training as module

    # the same examples in the same order, whatever the size of a batch
    monkeypatch.setattr(module, "by_length", lambda examples, *_: examples)
    found = []
    for size, parts in ((8, 1), (4, 2)):
        model = make(
            head="listwise",
            batch_size=size,
            optimization={"accumulate": parts},
            learning_rate=1e-3,
            validation_users=0,
        )
        model.fit(pairs(), FitContext())
        assert model.report["steps"] == 2
        found.append(ordering(model, pairs()))
    np.testing.assert_allclose(*found, atol=1e-4)
    half = make(head="listwise", learning_rate=1e-3, validation_users=0)
    half.fit(pairs(), FitContext())
    assert np.abs(ordering(half, pairs()) - found[0]).max() > 1e-3


@pytest.mark.parametrize("mode", ["shared", "cross", "late"])
@pytest.mark.parametrize("tune", ["full", "lora"])
def test_activations_computed_again_change_nothing(
    make: Make, tiny: Dataset, mode: str, tune: str
) -> None:
    found = []
    for again in (False, True):
        model = make(
            mode=mode,
            tune=tune,
            learning_rate=1e-3,
            validation_users=0,
            optimization={"checkpoint_activations": again, "schedule": "cosine"},
        )
        model.fit(tiny, FitContext())
        found.append(ask(model, tiny))
    np.testing.assert_allclose(*found, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"adversarial": "fgm"},
        {"adversarial": {"kind": "pgd", "steps": 2}},
        {"r_drop": 1.0, "dropout": 0.1},
        {"augmentation": {"crop": 1.0, "reorder": 1.0}},
        {"propensity": {"power": 0.5}},
        {"history_ratings": True, "history_order": "newest_first", "history_gaps": True},
        {"optimization": {"schedule": "constant_with_warmup"}},
    ],
    ids=str,
)
def test_an_option_changes_the_training(make: Make, tiny: Dataset, options: dict[str, Any]) -> None:
    found = []
    for own in ({k: v for k, v in options.items() if k == "dropout"}, options):
        model = make(max_steps=3, learning_rate=1e-3, validation_users=0, **own)
        model.fit(tiny, FitContext())
        found.append(weights(model))
    old, new = found
    assert old.keys() == new.keys()
    assert not np.array_equal(old["head.weight"], new["head.weight"])
    table = "encoder.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(old[table], new[table])  # moved, and put back


def test_the_same_seed_trains_the_same_with_everything_at_once(make: Make, tiny: Dataset) -> None:
    options: dict[str, Any] = {
        "augmentation": {"crop": 0.5, "mask": 0.5},
        "shuffle_ties": True,
        "adversarial": "fgm",
        "r_drop": 0.5,
        "dropout": 0.1,
        "hard_negatives": {"share": 0.5, "models": ["alphabet"], "skip": 0},
        "propensity": {"power": 0.5},
        "history_gaps": True,
        "tune": "dora",
    }
    retriever = Alphabet()
    retriever.fit(tiny, FitContext())
    scores = []
    for _ in range(2):
        model = make(**options)
        model.fit(tiny, FitContext(seed=3, fitted={"alphabet": retriever}))
        scores.append(ask(model, tiny))
    np.testing.assert_array_equal(*scores)


def test_seeds_are_averaged(make: Make, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    import rankers.bert_training as module

    ends: list[dict[str, torch.Tensor]] = []
    own = module._weights

    def noted(net: Any) -> dict[str, torch.Tensor]:
        ends.append(own(net))
        return ends[-1]

    monkeypatch.setattr(module, "_weights", noted)
    options = {"learning_rate": 1e-3, "validation_users": 0}
    model = make(seeds={"count": 2}, **options)
    model.fit(tiny, FitContext())
    start, first, second = ends
    assert any(not torch.equal(first[name], second[name]) for name in first)
    for name, value in weights(model).items():
        expected = (first[name] + second[name]).numpy() / 2
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)
    assert model.report == {"steps": 4.0}
    # the first of them is the training without averaging
    alone = make(**options)
    alone.fit(tiny, FitContext())
    for name, value in weights(alone).items():
        np.testing.assert_array_equal(value, first[name].numpy())
    assert start.keys() == first.keys()


def test_a_greedy_soup_is_no_worse_than_its_best(make: Make, tiny: Dataset) -> None:
    model = make(seeds={"count": 2, "soup": "greedy"}, learning_rate=1e-3)
    model.fit(tiny, FitContext())
    alone = make(learning_rate=1e-3)
    alone.fit(tiny, FitContext())
    assert model.report["validation"] >= alone.report["validation"] - 1e-6
    with pytest.raises(ConfigError, match="validation"):
        make(seeds={"count": 2, "soup": "greedy"}, validation_users=0).fit(tiny, FitContext())


def test_finished_seeds_are_not_trained_again(
    make: Make, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rankers.bert_training as module

    options = {"seeds": {"count": 2}, "learning_rate": 1e-3}
    whole = make(**options)
    whole.fit(tiny, FitContext())
    trained: list[str] = []
    fine_tune = module.fine_tune

    def counted(*args: Any, **kwargs: Any) -> dict[str, float]:
        trained.append(kwargs["name"][-1])
        if len(trained) == 2:
            raise Interrupted
        return fine_tune(*args, **kwargs)

    monkeypatch.setattr(module, "fine_tune", counted)
    context = FitContext(workdir=tmp_path)
    with pytest.raises(Interrupted):
        make(**options).fit(tiny, context)
    resumed = make(**options)
    resumed.fit(tiny, context)
    assert trained == ["0", "1", "1"]
    np.testing.assert_allclose(ask(resumed, tiny), ask(whole, tiny), atol=1e-5)
    assert resumed.report == pytest.approx(whole.report)
    assert not list(tmp_path.iterdir())


def test_curves_are_reported_where_a_package_is_there(
    make: Make, tiny: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from importlib.util import find_spec

    from fusion.errors import DependencyError

    if find_spec("wandb") is None:
        with pytest.raises(DependencyError, match="wandb"):
            make(optimization={"report_to": "wandb"}).fit(tiny, FitContext())
    if find_spec("tensorboard") is None:
        return
    monkeypatch.chdir(tmp_path)
    make(optimization={"report_to": "tensorboard"}).fit(tiny, FitContext())
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_what_it_reports_is_json(make: Make, tiny: Dataset) -> None:
    model = make(seeds={"count": 2})
    model.fit(tiny, FitContext())
    assert json.loads(json.dumps(model.report)) == model.report
    assert callable(train)
