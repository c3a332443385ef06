from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from gpt_models import save_model
from pydantic import ValidationError

from fusion import Dataset, Queries
from fusion.candidates import Candidates, Missing
from fusion.errors import ArtifactError, ConfigError, DataError, NotFittedError
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.work import counting
from rankers.gpt import Gpt

TRAINING = {"max_tokens": 1500, "refit_tokens": 300, "eval_steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"))


def make(folder: Path, **changes) -> Gpt:
    training = TRAINING | changes.pop("training", {})
    base = {"base_model": str(folder), "dtype": "float32", "prompt": {"history": 4}}
    return Gpt(base | {"training": training} | changes, name="gpt")


def all_items(data: Dataset, users: int = 3) -> tuple[Queries, Candidates]:
    items = np.tile(np.arange(data.n_items, dtype=np.int32), users)
    offsets = np.arange(users + 1, dtype=np.int64) * data.n_items
    return data.queries(np.arange(users)), Candidates.bare(offsets, items)


def column(model: Gpt, data: Dataset) -> np.ndarray:
    return model.score(*all_items(data)).values


@pytest.mark.parametrize("mode", ["likelihood", "yes_no"])
@pytest.mark.parametrize("tune", ["lora", "full", "none"])
def test_saved_and_loaded_scores_have_the_same_bits(
    folder: Path, tiny: Dataset, tmp_path: Path, mode: str, tune: str
) -> None:
    model = make(folder, score=mode, tune=tune)
    model.fit(tiny, FitContext())
    before = column(model, tiny)
    model.save(tmp_path)
    again = make(folder, score=mode, tune=tune)
    again.load(tmp_path, tiny)
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(column(again, tiny), before)
    again._unconditional[:] = np.nan  # computed anew, not only read back
    np.testing.assert_allclose(column(again, tiny), before, atol=1e-5)
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize(("tune", "mode"), [("lora", "likelihood"), ("full", "yes_no")])
def test_bfloat16_survives_saving(
    folder: Path, tiny: Dataset, tmp_path: Path, tune: str, mode: str
) -> None:
    model = make(folder, dtype="bfloat16", tune=tune, score=mode)
    model.fit(tiny, FitContext())
    model.save(tmp_path)
    again = make(folder, dtype="bfloat16", tune=tune, score=mode)
    again.load(tmp_path, tiny)
    assert again._reader.dtype == torch.bfloat16
    np.testing.assert_array_equal(column(again, tiny), column(model, tiny))


@pytest.fixture(scope="module")
def walks(tiny: Dataset) -> Dataset:
    """The first five events of every user: a walk along one genre's items in order."""
    return tiny.where(np.arange(len(tiny)) - tiny.offsets[tiny.interactions.users] < 5)


@pytest.mark.parametrize("mode", ["likelihood", "yes_no"])
def test_training_learns_what_follows_what(folder: Path, walks: Dataset, mode: str) -> None:
    rows = np.arange(walks.n_users)
    queries = walks.queries_before(rows, walks.offsets[rows] + 4)
    items = np.tile(np.arange(walks.n_items, dtype=np.int32), len(rows))
    candidates = Candidates.bare(np.arange(len(rows) + 1, dtype=np.int64) * walks.n_items, items)
    target = walks.interactions.items[walks.offsets[rows] + 4]

    def mean_rank(model: Gpt) -> float:
        scores = model.score(queries, candidates).values.reshape(len(rows), -1)
        return float((scores >= scores[rows, target][:, None]).sum(1).mean())

    raw = make(folder, score=mode, tune="none")
    raw.fit(walks, FitContext())
    recipe = {"max_tokens": 40_000, "epochs": 12, "learning_rate": 5e-3, "validation_users": 0}
    tuned = make(folder, score=mode, tune="full", training=recipe)
    tuned.fit(walks, FitContext())
    assert mean_rank(raw) > 10  # of 30
    assert mean_rank(tuned) < 6


def test_same_seed_same_scores_and_no_global_trace(folder: Path, tiny: Dataset) -> None:
    columns = []
    for draw in (1, 2):
        torch.manual_seed(draw)  # a fit must not listen to the global generators...
        np.random.seed(draw)  # noqa: NPY002
        want = torch.rand(1), np.random.rand()  # noqa: NPY002
        torch.manual_seed(draw)
        np.random.seed(draw)  # noqa: NPY002
        model = make(folder)
        model.fit(tiny, FitContext(seed=5))
        assert (torch.rand(1), np.random.rand()) == want  # noqa: NPY002 - ...nor move them
        columns.append(column(model, tiny))
    np.testing.assert_array_equal(columns[0], columns[1])
    other = make(folder)
    other.fit(tiny, FitContext(seed=6))
    assert not np.array_equal(column(other, tiny), columns[0])


def test_training_says_nothing(folder: Path, tiny: Dataset, capfd) -> None:
    make(folder).fit(tiny, FitContext())
    assert capfd.readouterr() == ("", "")


def test_one_row_alone_scores_as_in_the_batch(folder: Path, tiny: Dataset) -> None:
    model = make(folder, longest_row=64, batch_tokens=200)
    model.fit(tiny, FitContext())
    queries, candidates = all_items(tiny)
    whole = model.score(queries, candidates).values
    for row in (0, 31, 77):
        q = row // tiny.n_items
        alone = Candidates.bare(np.array([0, 1]), candidates.items[row : row + 1])
        value = model.score(queries.take(np.array([q])), alone).values[0]
        assert value == pytest.approx(whole[row], abs=1e-4)


def test_likelihood_is_conditional_less_unconditional(folder: Path, tiny: Dataset) -> None:
    columns = {}
    for weight in (0.0, 0.5, 1.0):
        model = make(folder, tune="none", unconditional=weight)
        model.fit(tiny, FitContext())
        columns[weight] = column(model, tiny)
    assert np.isnan(model._unconditional).sum() == 0
    np.testing.assert_allclose(
        columns[1.0], columns[0.0] - np.tile(model._unconditional, 3), atol=1e-5
    )
    np.testing.assert_allclose(columns[0.5], (columns[0.0] + columns[1.0]) / 2, atol=1e-5)


def test_unconditional_is_computed_only_where_asked(folder: Path, tiny: Dataset) -> None:
    model = make(folder, tune="none")
    model.fit(tiny, FitContext())
    assert np.isnan(model._unconditional).all()
    some = Candidates.bare(np.array([0, 2]), np.array([4, 9], np.int32))
    model.score(tiny.queries(np.array([0])), some)
    assert np.flatnonzero(~np.isnan(model._unconditional)).tolist() == [4, 9]


def test_cold_is_an_item_without_text_and_a_query_without_history(folder: Path) -> None:
    import pyarrow as pa

    events = pa.table(
        {"user_id": list("uuuv"), "item_id": list("abca"), "timestamp": [1.0, 2.0, 3.0, 1.0]}
    )
    items = pa.table({"item_id": list("abcd"), "title": ["One", "Two", None, "Four"]})
    data = Dataset.from_frames(events, items)
    model = make(folder, tune="none")
    model.fit(data, FitContext())
    index = data.catalog.vocabulary.index
    histories = Ragged.of([[index("a")], [], [index("c")]])  # c has no text: as good as none
    wanted = [index("c"), index("d")]
    candidates = Candidates.bare(np.array([0, 2, 4, 6]), np.array(wanted * 3, np.int32))
    scores = model.score(Queries.from_history(histories), candidates)
    assert np.isnan(scores.values).tolist() == [True, False, True, True, True, True]
    assert set(scores.why[np.isnan(scores.values)].tolist()) == {Missing.COLD}
    none = model.score(Queries.from_history(histories), candidates.where(np.zeros(6, bool)))
    assert len(none.values) == 0


def test_refit_goes_on_from_the_adapter(folder: Path, tiny: Dataset) -> None:
    model = make(folder)
    model.fit(tiny, FitContext())
    first = {name: array.copy() for name, array in model._adapter.items()}
    model.refit(tiny, FitContext())
    moved = [np.abs(first[n] - model._adapter[n]).mean() for n in first]
    size = [np.abs(first[n]).mean() for n in first]
    assert 0 < np.mean(moved) < np.mean(size)
    still = make(folder, training={"refit_tokens": 0})
    still.fit(tiny, FitContext())
    before = column(still, tiny)
    still.refit(tiny, FitContext())
    np.testing.assert_array_equal(column(still, tiny), before)


def test_an_interrupted_fit_is_resumed(folder: Path, tiny: Dataset, tmp_path, monkeypatch) -> None:
    class Stop(Exception):
        pass

    class Watched(Gpt):
        """Counts its looks at the validation set; the power fails at one of them."""

        fails_at = -1

        def _validator(self, reader, held):
            look, self.looks = super()._validator(reader, held), 0

            def validate() -> float:
                self.looks += 1
                if self.looks == self.fails_at:
                    raise Stop
                return look()

            return validate

    def watched(patience: int = 99) -> Watched:
        recipe = TRAINING | {"validation_users": 8, "patience": patience}
        return Watched({**make(folder).config.model_dump(), "training": recipe}, name="gpt")

    whole, first, second, other = watched(), watched(), watched(), watched(patience=98)
    whole.fit(tiny, FitContext(workdir=tmp_path / "a"))
    assert not list((tmp_path / "a").glob("*/checkpoint-*"))  # finished: nothing is left
    first.fails_at = 3
    with pytest.raises(Stop):
        first.fit(tiny, FitContext(workdir=tmp_path / "b"))
    (left,) = (tmp_path / "b").glob("gpt-*")
    assert list(left.glob("checkpoint-*"))
    second.fit(tiny, FitContext(workdir=tmp_path / "b"))
    assert second.looks == whole.looks - 2  # the two that were behind it are not repeated
    np.testing.assert_allclose(column(second, tiny), column(whole, tiny), atol=1e-5)
    assert not left.exists()
    same, context = watched(), FitContext(workdir=tmp_path / "b")
    same._base = other._base = whole._base
    assert same._workdir(tiny, context, 1500) == left  # found again...
    assert other._workdir(tiny, context, 1500) != left  # ...by its like only


def test_another_base_model_is_refused_on_load(tmp_path: Path, tiny: Dataset) -> None:
    base = save_model(tmp_path / "base")
    model = make(base)
    model.fit(tiny, FitContext())
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    save_model(base, seed=9)
    with pytest.raises(ArtifactError, match="SHA-256"):
        make(base).load(tmp_path / "saved", tiny)


@pytest.mark.parametrize("tune", ["lora", "full", "none"])
def test_save_base_needs_nothing_else(tmp_path: Path, tiny: Dataset, tune: str) -> None:
    base = save_model(tmp_path / "base")
    model = make(base, tune=tune, save_base=True)
    model.fit(tiny, FitContext())
    before = column(model, tiny)
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    for file in base.iterdir():
        os.remove(file)
    again = make(base, tune=tune, save_base=True)
    again.load(tmp_path / "saved", tiny)
    np.testing.assert_array_equal(column(again, tiny), before)


def test_asked_before_fit(folder: Path, tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        make(folder).score(*all_items(tiny))
    with pytest.raises(NotFittedError):
        make(folder).save(tmp_path)


def test_no_events_is_an_error_and_one_event_is_not(folder: Path, tiny: Dataset) -> None:
    nothing = tiny.where(np.zeros(len(tiny), bool))
    with pytest.raises(DataError):
        make(folder).fit(nothing, FitContext())
    for mode in ("likelihood", "yes_no"):
        one = tiny.where(np.arange(len(tiny)) == 0)
        model = make(folder, score=mode)
        model.fit(one, FitContext())
        assert np.isfinite(model.score(*all_items(one, 1)).values).all()


def test_foreign_code_is_refused(tmp_path: Path, tiny: Dataset) -> None:
    with pytest.raises(ValidationError, match="trust_remote_code"):
        Gpt({"trust_remote_code": True})
    base = save_model(tmp_path)
    settings = json.loads((base / "config.json").read_text())
    settings |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.Evil"},
    }
    (base / "config.json").write_text(json.dumps(settings))
    (base / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ConfigError):
        make(base).fit(tiny, FitContext())
    assert not (tmp_path / "ran").exists()


def test_a_history_longer_than_the_context_is_refused(folder: Path, tiny: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"prompt\.history"):
        make(folder, prompt={"history": 500}).fit(tiny, FitContext())


@pytest.mark.parametrize("kind", ["gpt2", "granite"])
def test_other_architectures_are_tuned_too(tmp_path: Path, tiny: Dataset, kind: str) -> None:
    base = save_model(tmp_path, kind)
    raw, tuned = make(base, tune="none"), make(base, training={"learning_rate": 1e-2})
    for model in (raw, tuned):
        model.fit(tiny, FitContext())
    change = np.abs(column(tuned, tiny) - column(raw, tiny))
    assert change.max() > 1e-3


def test_training_that_diverges_is_an_error(folder: Path, tiny: Dataset) -> None:
    recipe = {"learning_rate": 1e20, "validation_users": 0, "clip": 1e30}
    model = make(folder, tune="full", training=recipe)
    with pytest.raises(ConfigError, match="learning_rate"):
        model.fit(tiny, FitContext())
    with pytest.raises(NotFittedError):  # and nothing half-made is left to be asked
        model.score(*all_items(tiny))


def test_what_is_kept_changes_no_score_and_goes_with_the_weights(
    folder: Path, tiny: Dataset
) -> None:
    kept, forgetful = (make(folder, cache_mb=mb, tune="full") for mb in (1, 0))
    for model in (kept, forgetful):
        model.fit(tiny, FitContext())
    assert len(kept._reader.cache) == 0  # whatever was asked while it was trained
    for _ in range(2):
        np.testing.assert_allclose(column(kept, tiny), column(forgetful, tiny), atol=1e-4)
    assert len(kept._reader.cache) > 0
    assert not forgetful._reader.cache.on
    first = kept._reader.cache
    for model in (kept, forgetful):
        model.refit(tiny, FitContext())
    assert (len(first), len(kept._reader.cache)) == (0, 0)
    np.testing.assert_allclose(column(kept, tiny), column(forgetful, tiny), atol=1e-4)


def test_a_request_is_counted(folder: Path, tiny: Dataset) -> None:
    model = make(folder, tune="none", unconditional=0.0)
    model.fit(tiny, FitContext())
    queries, candidates = all_items(tiny, 2)
    for hits in (0, 2):
        with counting() as work:
            model.score(queries, candidates)
        assert work.counts["passes"] == 1  # both users at once
        assert (work.counts["cache_hits"], work.counts["cache_misses"]) == (hits, 2 - hits)
        assert {"prepare", "forward", "head"} <= set(work.seconds)
    texts = model._prompts.items
    inner = {tuple(t[: i + 1].tolist()) for t in texts for i in range(len(t) - 1)}
    assert work.counts["tokens"] == 2 * len(inner)  # the histories are known, no prefix twice
    assert model.peak_rate() > 1e8


def test_warming_up_does_what_requests_would_wait_for(folder: Path, tiny: Dataset) -> None:
    cold, warm = make(folder, tune="none"), make(folder, tune="none")
    for model in (cold, warm):
        model.fit(tiny, FitContext())
    warm.warm_up()
    assert np.isfinite(warm._unconditional[warm._readable]).all()
    with counting() as first:
        values = column(warm, tiny)
    with counting() as waited:
        np.testing.assert_allclose(column(cold, tiny), values, atol=1e-5)
    assert first.counts["tokens"] < waited.counts["tokens"]
    with counting() as again:
        warm.warm_up()
    assert "tokens" not in again.counts
    with pytest.raises(NotFittedError):
        make(folder).warm_up()
