from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from bert_models import pairs, save_model

from fusion import Candidates, Dataset
from fusion.errors import ConfigError, DataError, NotFittedError
from fusion.protocols import FitContext
from rankers.bert import Bert


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def make(base: Path):
    def build(**options: Any) -> Bert:
        config = {
            "base_model": str(base),
            "dtype": "float32",
            "item_tokens": 8,
            "history_tokens": 40,
            "max_steps": 4,
            "batch_size": 4,
            "evaluate_every": 2,
            "validation_candidates": 9,
            "dropout": 0.0,
        }
        return Bert({**config, **options}, name="bert")

    return build


def ask(model: Bert, data: Dataset, users: int = 4) -> np.ndarray:
    queries, n = data.queries(np.arange(users)), data.n_items
    offsets = np.arange(users + 1, dtype=np.int64) * n
    items = np.tile(np.arange(n, dtype=np.int32), users)
    return model.score(queries, Candidates.bare(offsets, items)).values.reshape(users, n)


def weights(model: Bert) -> dict[str, np.ndarray]:
    return {name: p.numpy().copy() for name, p in model._net.state_dict().items()}


def test_training_learns_what_comes_next(make) -> None:
    model = make(max_steps=60, batch_size=8, evaluate_every=20, learning_rate=2e-3)
    model.fit(pairs(), FitContext(seed=0))
    # a random order of ten has an NDCG@10 of sum(1 / log2(1 + rank)) / 10 = 0.454
    assert model.report["untrained"] < 0.6
    # a model that knows the genre but not the item is right with about one in three
    assert model.report["validation"] > model.report["untrained"] + 0.15
    assert model.report["steps"] == 60


def test_the_rating_head_learns_ratings_in_their_unit(make, tiny: Dataset) -> None:
    war = np.array(["war" in text for text in tiny.catalog.texts])
    events = tiny.interactions
    liked = np.where(war[events.items], 5, 2).astype(np.float32)
    data = replace(tiny, interactions=replace(events, ratings=liked))
    model = make(head="rating", max_steps=60, batch_size=8, evaluate_every=20, learning_rate=2e-3)
    model.fit(data, FitContext(seed=0))
    assert model.report["validation"] < model.report["untrained"] / 2
    scores = ask(model, data, 40)
    assert scores[:, war].mean() == pytest.approx(5, abs=0.5)
    assert scores[:, ~war].mean() == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("tune", ["full", "lora", "none"])
def test_what_is_tuned(make, tiny: Dataset, tune: str) -> None:
    before = make(max_steps=0)
    before.fit(tiny, FitContext())
    model = make(tune=tune, learning_rate=1e-2, patience=9, validation_users=0)
    model.fit(tiny, FitContext())
    old, new = weights(before), weights(model)
    assert old.keys() == new.keys(), "after training it is a plain encoder again"
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    layers = {name for name in old if ".layer." in name}
    assert {"head.weight", "head.bias"} <= changed
    assert "encoder.embeddings.word_embeddings.weight" not in changed
    if tune == "none":
        assert not changed & layers
    else:
        matrices = {name for name in layers if name.endswith("dense.weight")}
        assert matrices
        assert matrices <= changed


def test_word_embeddings_are_tuned_when_asked(make, tiny: Dataset) -> None:
    tables = []
    for steps in (0, 2):
        model = make(freeze_embeddings=False, max_steps=steps, validation_users=0)
        model.fit(tiny, FitContext())
        tables.append(weights(model)["encoder.embeddings.word_embeddings.weight"])
    assert not np.array_equal(*tables)


def test_the_best_weights_are_restored_and_training_stops_early(make, tiny: Dataset) -> None:
    untrained = make(max_steps=0)
    untrained.fit(tiny, FitContext(seed=1))
    # a rate that destroys the network: no later state is as good as the first
    model = make(max_steps=30, patience=2, learning_rate=50.0, head_learning_rate=50.0)
    model.fit(tiny, FitContext(seed=1))
    assert model.report["validation"] == model.report["untrained"]
    assert model.report["steps"] == 4  # validated before, after 2 and after 4 steps
    kept, zero = ask(model, tiny), ask(untrained, tiny)
    # equal but for the bias that the head is calibrated to
    np.testing.assert_allclose(kept - kept.mean(), zero - zero.mean(), atol=1e-4)


class Interrupted(Exception):
    pass


def test_an_interrupted_training_goes_on_from_its_checkpoint(
    make, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetuning.stopping import Watch

    options = {"max_steps": 8, "learning_rate": 1e-3, "dropout": 0.2}
    whole = make(**options)
    whole.fit(tiny, FitContext(seed=2))

    step_end = Watch.on_step_end
    steps: list[int] = []

    def counted(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        steps.append(state.global_step)
        if steps == [1, 2, 3, 4, 5]:
            raise Interrupted
        step_end(self, args, state, control, **kwargs)

    monkeypatch.setattr(Watch, "on_step_end", counted)
    context = FitContext(seed=2, workdir=tmp_path)
    with pytest.raises(Interrupted):
        make(**options).fit(tiny, context)
    resumed = make(**options)
    resumed.fit(tiny, context)
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7, 8]
    np.testing.assert_allclose(ask(resumed, tiny), ask(whole, tiny), rtol=1e-4, atol=1e-4)
    assert resumed.report == pytest.approx(whole.report)
    assert not list(tmp_path.iterdir()), "finished: the checkpoints are gone"
    steps.clear()
    steps.append(0)
    make(**{**options, "learning_rate": 2e-3}).fit(tiny, context)
    assert steps[:2] == [0, 1], "another configuration begins anew"


def test_refit_goes_on_from_the_fitted_weights(make, tiny: Dataset) -> None:
    past = tiny.where(np.arange(len(tiny)) % 12 < 10)
    model = make(refit_steps=0)
    model.fit(past, FitContext())
    before = ask(model, past)
    model.refit(tiny, FitContext())
    np.testing.assert_array_equal(ask(model, past), before)

    model = make(refit_steps=2, validation_users=0, learning_rate=1e-4)
    model.fit(past, FitContext())
    before = ask(model, past)
    model.refit(tiny, FitContext())
    after = ask(model, past)
    assert model.report["steps"] == 2
    assert not np.array_equal(after, before)
    assert np.corrcoef(after.ravel(), before.ravel())[0, 1] > 0.9

    first = make()
    first.refit(tiny, FitContext(seed=4))
    fitted = make()
    fitted.fit(tiny, FitContext(seed=4))
    np.testing.assert_allclose(ask(first, tiny), ask(fitted, tiny), atol=1e-5)


def test_a_budget_of_examples_bounds_the_steps(make, tiny: Dataset) -> None:
    model = make(max_steps=50, max_examples=9, validation_users=0)
    model.fit(tiny, FitContext())
    assert model.report == {"steps": 3.0}  # 9 examples in batches of 4


def test_it_is_silent_unless_progress_is_asked_for(
    make, tiny: Dataset, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = make()
    model.fit(tiny, FitContext())
    model.save(tmp_path)
    make().load(tmp_path, tiny)
    ask(model, tiny)
    assert capfd.readouterr() == ("", "")
    make().fit(tiny, FitContext(progress=True))
    out, err = capfd.readouterr()
    assert out == ""
    assert "4/4" in err


def test_the_global_generators_are_left_alone(make, tiny: Dataset) -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1).item(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    make().fit(tiny, FitContext(seed=9))
    assert (torch.rand(1).item(), np.random.rand()) == expected  # noqa: NPY002


def frames(titles: list[str | None], met: dict[str, str]) -> Dataset:
    pairs = [(u, i) for u, items in met.items() for i in items]
    interactions = pa.table(
        {
            "user_id": [u for u, _ in pairs],
            "item_id": [i for _, i in pairs],
            "timestamp": list(range(len(pairs))),
        }
    )
    names = [chr(ord("a") + n) for n in range(len(titles))]
    return Dataset.from_frames(interactions, pa.table({"item_id": names, "title": titles}))


def test_data_that_it_cannot_use(make, tiny: Dataset) -> None:
    silent = frames([None, None], {"u": "ab"})
    with pytest.raises(DataError, match="items with text"):
        make().fit(silent, FitContext())
    unrated = frames(["war 1", "war 2"], {"u": "ab"})
    with pytest.raises(DataError, match="ratings"):
        make(head="rating").fit(unrated, FitContext())
    with pytest.raises(DataError, match="interaction"):
        make().fit(tiny.where(np.zeros(len(tiny), bool)), FitContext())


def test_settings_that_it_cannot_use(make, tiny: Dataset) -> None:
    with pytest.raises(ConfigError, match="at most 62, got 63"):
        make(history_tokens=63).fit(tiny, FitContext())


def test_nothing_to_train_on_leaves_the_pretrained_ranking(make) -> None:
    data = frames(["war 1", "war 2", None], {"u": "a", "v": "b", "w": "c"})
    model = make()
    model.fit(data, FitContext())
    assert model.report == {"steps": 0.0}
    scores = ask(model, data, 3)
    silent = data.catalog.vocabulary.index("c")
    assert np.isnan(scores[:, silent]).all()
    assert np.isnan(scores[data.users.index("w")]).all()
    assert np.isnan(scores).sum() == 5


@pytest.mark.parametrize("met", [{"u": "ab"}, {"u": "abc", "v": "abc"}])
def test_users_who_met_everything_and_sets_too_small_to_validate(make, met: dict[str, str]) -> None:
    data = frames(["war 1", "war 2", "space 3"], met)
    model = make()
    model.fit(data, FitContext())
    assert model.report["steps"] == 4
    assert np.isfinite(ask(model, data, 1)).all()


def test_equal_ratings_everywhere(make, tiny: Dataset) -> None:
    tiny = tiny.where(tiny.interactions.ratings == 5)
    model = make(head="rating")
    model.fit(tiny, FitContext())
    assert np.abs(ask(model, tiny) - 5).max() < 2


def test_not_fitted(make, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        make().save(tmp_path)


@pytest.mark.parametrize("mode", ["shared", "cross", "late"])
def test_loading_does_not_tokenize_again(
    make, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    import rankers.bert_text as bert_text

    model = make(mode=mode, max_steps=0)
    model.fit(tiny, FitContext())
    model.save(tmp_path)

    def refuse(*args: Any) -> Any:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(bert_text, "token_ids", refuse)
    loaded = make(mode=mode, max_steps=0)
    loaded.load(tmp_path, tiny)
    np.testing.assert_allclose(ask(loaded, tiny), ask(model, tiny), atol=1e-5)
    with pytest.raises(AssertionError, match="tokenised again"):
        make(mode=mode, max_steps=0, item_tokens=7).load(tmp_path, tiny)


def test_vectors_of_other_texts_are_made_anew(make, tiny: Dataset, tmp_path: Path) -> None:
    model = make(mode="late", max_steps=0)
    model.fit(tiny, FitContext())
    model.save(tmp_path)
    shorter = make(mode="late", max_steps=0, item_tokens=3)
    shorter.load(tmp_path, tiny)
    fitted = make(mode="late", max_steps=0, item_tokens=3)
    fitted.fit(tiny, FitContext())
    np.testing.assert_allclose(ask(shorter, tiny), ask(fitted, tiny), atol=1e-5)


def test_the_peak_is_that_of_the_precision(make, monkeypatch: pytest.MonkeyPatch) -> None:
    import rankers.device as device

    monkeypatch.setattr(device, "measured_peak", lambda where, dtype: (where, dtype))
    where = device.best_device().type
    assert make().peak_rate() == (where, "float32")
    assert make(dtype="bfloat16").peak_rate() == (where, "bfloat16")


@pytest.mark.parametrize("mode", ["cross", "late"])
def test_other_modes_learn_what_comes_next(make, mode: str) -> None:
    model = make(mode=mode, max_steps=60, batch_size=8, evaluate_every=20, learning_rate=2e-3)
    model.fit(pairs(), FitContext(seed=0))
    assert model.report["validation"] > model.report["untrained"] + 0.15
