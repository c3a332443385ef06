from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_data import tiny_frames

from fusion import Dataset, Engine
from fusion.artifacts import read_arrays, write_arrays
from fusion.averaging import SeedAverageRanker, SeedAverageRetriever
from fusion.candidates import Candidates, Missing, Scores
from fusion.config_components import filled_component
from fusion.errors import ConfigError, NotFittedError
from fusion.protocols import FitContext, Ranker, RankerConfig, Retriever, RetrieverConfig
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.testing import RankerContract, RetrieverContract

FITS: list[str] = []  # names of the copies, as they are fitted
KILL: list[int] = []  # the fit that is to be interrupted


class NoisyConfig(RetrieverConfig):
    scale: float = 1.0
    need: str | None = None


class Noisy(Retriever):
    """The newest item says a number for each item, by a table that is random of the seed."""

    Config: ClassVar[type[NoisyConfig]] = NoisyConfig
    table: np.ndarray | None = None

    def needs(self) -> tuple[str, ...]:
        return () if self.config.need is None else (self.config.need,)

    def fit(self, data: Dataset, context: FitContext) -> None:
        FITS.append(self.name)
        if KILL and len(FITS) == KILL[0]:
            KILL.clear()
            raise KeyboardInterrupt
        rng = context.rng("noisy")
        self.table = rng.normal(self.config.scale, 1, (data.n_items, data.n_items)).astype("f4")
        self.table[:, rng.integers(data.n_items)] = np.nan  # an item that this copy does not know

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        if self.table is None:
            raise self.not_fitted()
        last = np.array([row[-1] if len(row) else -1 for row in queries.history], np.int64)
        of = last[candidates.rows]
        return Scores.of(np.where(of < 0, np.nan, self.table[of, candidates.items]))

    def retrieve(self, queries: Queries, n: int) -> Candidates:
        if self.table is None:
            raise self.not_fitted()
        lists = []
        for row, barred in zip(queries.history, queries.excluded, strict=True):
            order = np.argsort(-self.table[row[-1]], kind="stable") if len(row) else []
            known = [
                i for i in order if i not in set(barred) and not np.isnan(self.table[row[-1], i])
            ]
            lists.append(known[:n])
        found = Ragged.of(lists)
        bare = Candidates.bare(found.offsets, found.values)
        return bare.with_scores(self.name, self.score(queries, bare))

    def save(self, folder: Path) -> None:
        write_arrays(folder / "table.safetensors", {"table": self.table})

    def load(self, folder: Path, data: Dataset) -> None:
        self.table = read_arrays(folder / "table.safetensors")["table"]


class NoisyRanker(Ranker):
    """The same as a ranker."""

    class Config(RankerConfig):
        scale: float = 1.0

    table: np.ndarray | None = None
    fit = Noisy.fit
    score = Noisy.score
    save = Noisy.save
    load = Noisy.load


NAME = f"{__name__}:Noisy"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset.from_frames(*tiny_frames())


class TestNoisyRetriever(RetrieverContract):
    plugin = SeedAverageRetriever
    options: ClassVar[Any] = {"model": NAME, "seeds": 3}
    exact = False  # an item may be best on average and nobody's own

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls) -> Dataset:
        return Dataset.from_frames(*tiny_frames())


class TestEaseRetriever(RetrieverContract):
    plugin = SeedAverageRetriever
    options: ClassVar[Any] = {"model": "ease", "seeds": 2, "options": {"reg": 10.0}}

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls) -> Dataset:
        return Dataset.from_frames(*tiny_frames())


class TestNoisyRanker(RankerContract):
    plugin = SeedAverageRanker
    options: ClassVar[Any] = {"model": f"{__name__}:NoisyRanker", "seeds": 3}

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls) -> Dataset:
        return Dataset.from_frames(*tiny_frames())


def everything(queries: Queries, data: Dataset) -> Candidates:
    count, items = len(queries), data.n_items
    return Candidates.bare(
        np.arange(count + 1) * items, np.tile(np.arange(items, dtype="i4"), count)
    )


@pytest.fixture(scope="module")
def model(data: Dataset) -> SeedAverageRetriever:
    made = SeedAverageRetriever({"model": NAME, "options": {"scale": 5.0}})
    made.fit(data, FitContext(seed=1))
    return made


def test_the_mean_of_the_copies_that_have_a_score(
    model: SeedAverageRetriever, data: Dataset
) -> None:
    queries = data.queries(np.arange(3))
    rows = everything(queries, data)
    told = [copy.score(queries, rows).values for copy in model.copies]
    assert len(told) == 3
    assert len({values.tobytes() for values in told}) == 3, "each copy has a seed of its own"
    found = model.score(queries, rows)
    np.testing.assert_allclose(found.values, np.nanmean(told, axis=0), rtol=1e-6)
    assert sum(np.isnan(values).any() for values in told) == 3
    assert not np.isnan(found.values).any()
    assert model.copies[0].config.scale == 5.0


def test_no_score_where_no_copy_has_one(model: SeedAverageRetriever, data: Dataset) -> None:
    nobody = Queries.from_history(Ragged.empty(1))
    found = model.score(nobody, everything(nobody, data))
    assert np.isnan(found.values).all()
    assert (found.why == Missing.COLD).all()


def test_lists_are_united_scored_by_all_and_cut(model: SeedAverageRetriever, data: Dataset) -> None:
    queries = data.queries(np.arange(4))
    found = model.retrieve(queries, 4)
    for q in range(4):
        query = queries.take(np.array([q]))
        own = {i for copy in model.copies for i in copy.retrieve(query, 4).items.tolist()}  # type: ignore[attr-defined]
        means = model.score(query, everything(query, data)).values
        expected = sorted(own, key=lambda i: (-means[i], i))[:4]
        at = slice(found.offsets[q], found.offsets[q + 1])
        assert sorted(found.items[at].tolist()) == sorted(expected)


def test_one_seed_is_the_model_itself(data: Dataset) -> None:
    made = SeedAverageRetriever({"model": "ease", "seeds": 1})
    made.fit(data, FitContext())
    from retrievers.ease import Ease

    alone = Ease()
    alone.fit(data, FitContext())
    queries = data.queries(np.arange(3))
    rows = everything(queries, data)
    np.testing.assert_array_equal(
        made.score(queries, rows).values, alone.score(queries, rows).values
    )


def test_what_the_model_needs_is_needed() -> None:
    made = SeedAverageRetriever({"model": NAME, "options": {"need": "ease"}})
    assert made.needs() == ("ease",)
    assert SeedAverageRetriever({"model": NAME}).needs() == ()


def test_an_interrupted_fit_goes_on(data: Dataset, tmp_path: Path) -> None:
    FITS.clear()
    KILL.append(2)
    made = SeedAverageRetriever({"model": NAME}, name="mine")
    with pytest.raises(KeyboardInterrupt):
        made.fit(data, FitContext(seed=1, workdir=tmp_path))
    with pytest.raises(NotFittedError):
        _ = made.copies
    again = SeedAverageRetriever({"model": NAME}, name="mine")
    again.fit(data, FitContext(seed=1, workdir=tmp_path))
    assert FITS == ["mine_0", "mine_1", "mine_1", "mine_2"]
    whole = SeedAverageRetriever({"model": NAME})
    whole.fit(data, FitContext(seed=1))
    queries = data.queries(np.arange(3))
    rows = everything(queries, data)
    np.testing.assert_array_equal(
        again.score(queries, rows).values, whole.score(queries, rows).values
    )
    assert not list(tmp_path.glob("copy-*")), "copies that were kept are gone in the end"


def test_mistakes_are_found_in_the_configuration() -> None:
    with pytest.raises(ValidationError, match="did you mean 'ease'"):
        SeedAverageRetriever({"model": "eas"})
    with pytest.raises(ValidationError, match="no_such"):
        SeedAverageRetriever({"model": "ease", "options": {"no_such": 1}})
    with pytest.raises(ValidationError, match="model"):
        SeedAverageRetriever({})
    with pytest.raises(ValidationError, match="one of bert"):
        SeedAverageRanker({"model": "ease"})


def test_the_options_are_filled_with_the_defaults() -> None:
    found = filled_component("retrievers", {"type": "seed_average", "model": "popularity"})
    assert found["options"]["half_life_days"] is None
    assert found["seeds"] == 3
    assert found["n"] == 200


def test_in_an_engine(data: Dataset, tmp_path: Path) -> None:
    config = {
        "retrievers": {"calm": {"type": "seed_average", "model": "item_knn", "seeds": 2}},
        "fusion": {"mode": "single", "model": "calm"},
    }
    engine = Engine.from_config(config)
    engine.fit(data)
    expected = [r.item_id for r in engine.recommend(data.users.ids[0], k=3)]
    engine.save(tmp_path / "engine")
    loaded = Engine.load(tmp_path / "engine")
    assert [r.item_id for r in loaded.recommend(data.users.ids[0], k=3)] == expected
    wrong = {**config, "retrievers": {"calm": {"type": "seed_average", "model": "no_such"}}}
    with pytest.raises(ConfigError, match="no_such"):
        Engine.from_config(wrong)
