"""A catalogue that grew and shrank, without fitting again."""

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from fusion import Dataset, Queries
from fusion.errors import DataError, NotFittedError
from fusion.protocols import FitContext
from fusion.testing import all_items
from retrievers import dense_encoding
from retrievers.dense import Dense
from retrievers.dense_changes import compare
from retrievers.encoder import Encoder

pytest.importorskip("faiss")
GENRES = ("crime", "space", "music", "romance")
OLD = {f"i{i}": f"{GENRES[i % 4]} story {i % 10}" for i in range(40)}
NEW = {
    **{k: v for k, v in OLD.items() if k not in ("i3", "i20")},
    "i5": "war and comedy",
    "n1": "space war 1",
    "n2": "music music",
    "mute": "",
}


def dataset(items: dict[str, str]) -> Dataset:
    met = [("u", "i1"), ("u", "i2"), ("v", "i7"), ("v", "i5")]
    return Dataset.from_frames(
        pa.table({"user_id": [u for u, _ in met], "item_id": [i for _, i in met]}),
        pa.table({"item_id": list(items), "title": [text or None for text in items.values()]}),
    )


def zero_shot(tiny_encoder, kind="flat", **options) -> Dense:
    return Dense(
        {
            "base_model": str(tiny_encoder),
            "precision": "float32",
            "item_tokens": 16,
            "train": {"max_pairs": 0},
            "index": {"kind": kind},
            **options,
        }
    )


def fitted(tiny_encoder, items, **options) -> Dense:
    model = zero_shot(tiny_encoder, **options)
    model.fit(dataset(items), FitContext())
    return model


def asked(data: Dataset) -> Queries:
    return data.queries(exclude_seen=False)


def lists(model: Dense, data: Dataset, n: int = 12) -> list[dict[str, float]]:
    found = model.retrieve(asked(data), n).checked()
    return [
        {data.catalog.ids[i]: float(s) for i, s in zip(part.items, part.scores[:, 0], strict=True)}
        for part in (found.take(np.array([q])) for q in range(found.n_queries))
    ]


def test_an_updated_model_is_a_fitted_one(tiny_encoder, tmp_path, monkeypatch):
    model, anew, data = fitted(tiny_encoder, OLD), fitted(tiny_encoder, NEW), dataset(NEW)
    read, whole = [], Encoder.encode
    monkeypatch.setattr(
        Encoder, "encode", lambda self, texts, **o: read.extend(texts) or whole(self, texts, **o)
    )
    changes = model.update(data)
    assert sorted(read) == ["music music.", "space war 1.", "war and comedy."]
    assert sorted(data.catalog.ids[i] for i in changes.added) == ["i5", "n1", "n2"]
    gone = [dataset(OLD).catalog.ids[i] for i in changes.removed]
    assert sorted(gone) == ["i20", "i3", "i5"]
    monkeypatch.undo()

    model.save(tmp_path)
    loaded = zero_shot(tiny_encoder)
    loaded.load(tmp_path, data)
    expected = anew.score(asked(data), all_items(asked(data), data.n_items)).values
    for other in (model, loaded):
        found = other.score(asked(data), all_items(asked(data), data.n_items)).values
        np.testing.assert_allclose(found, expected, atol=1e-5)
        for ours, theirs in zip(lists(other, data), lists(anew, data), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf", "sq"])
def test_removed_items_never_come_back_nor_after_another_update(tiny_encoder, kind):
    model = fitted(tiny_encoder, OLD, kind=kind)
    for items in (NEW, {k: v for k, v in NEW.items() if k != "n1"}, NEW):
        data = dataset(items)
        model.update(data)
        found = lists(model, data, n=100)[0]
        assert set(found) == {name for name, text in items.items() if text}


def test_an_unchanged_catalogue_changes_nothing(tiny_encoder):
    model, data = fitted(tiny_encoder, OLD), dataset(OLD)
    before = lists(model, data)
    changes = model.update(data)
    assert len(changes.added) == len(changes.removed) == 0
    assert lists(model, data) == before


def test_bad_updates_leave_the_model_as_it_was(tiny_encoder):
    with pytest.raises(NotFittedError):
        zero_shot(tiny_encoder).update(dataset(OLD))
    model, data = fitted(tiny_encoder, OLD), dataset(OLD)
    before = lists(model, data)
    with pytest.raises(DataError, match="items with text"):
        model.update(Dataset.from_frames(pa.table({"user_id": ["u"], "item_id": ["i1"]})))
    assert lists(model, data) == before


def test_changes_are_told_by_id_and_text():
    old, new = dataset(OLD).catalog, dataset(NEW).catalog
    rows = np.arange(len(old), dtype=np.int32)
    changes = compare(old, rows, new)
    for item, row in enumerate(changes.columns):
        if row >= 0:
            assert old.ids[row] == new.ids[item]
            assert old.texts[row] == new.texts[item]
    assert changes.columns[new.vocabulary.index("mute")] == -1


class TestResumed:
    """Killed after training: neither training nor what was encoded is done again."""

    options: ClassVar = {
        "train": {"max_pairs": 8, "batch_size": 4, "validation_users": 0, "learning_rate": 1e-2}
    }

    def test_a_killed_fit_goes_on(self, tiny_encoder, tmp_path, monkeypatch):
        rows = [(f"u{u}", f"i{(u + s) % 12}") for u in range(6) for s in range(4)]
        items = {f"i{i}": f"{GENRES[i % 4]} story {i % 10}" for i in range(12)}
        data = Dataset.from_frames(
            pa.table({"user_id": [r[0] for r in rows], "item_id": [r[1] for r in rows]}),
            pa.table({"item_id": list(items), "title": list(items.values())}),
        )
        straight = zero_shot(tiny_encoder, **self.options)
        straight.fit(data, FitContext(seed=3))

        monkeypatch.setattr(dense_encoding, "PIECE", 4)
        whole, calls = Encoder.encode, []

        def dies(self, texts, **options):
            calls.append(len(texts))
            if len(calls) == 2:
                raise KeyboardInterrupt
            return whole(self, texts, **options)

        context = FitContext(seed=3, workdir=tmp_path / "work")
        killed = zero_shot(tiny_encoder, **self.options)
        with monkeypatch.context() as patch:
            patch.setattr(Encoder, "encode", dies)
            with pytest.raises(KeyboardInterrupt):
                killed.fit(data, context)

        model, seen = zero_shot(tiny_encoder, **self.options), []
        with monkeypatch.context() as patch:
            patch.setattr("retrievers.dense.train", lambda *a, **o: pytest.fail("trained again"))
            patch.setattr(
                Encoder,
                "encode",
                lambda self, texts, **o: seen.extend(texts) or whole(self, texts, **o),
            )
            model.fit(data, context)
        assert len(seen) == 12 - 4
        assert model._useful_pairs == straight._useful_pairs
        everything = all_items(asked(data), 12)
        np.testing.assert_allclose(
            model.score(asked(data), everything).values,
            straight.score(asked(data), everything).values,
            atol=1e-4,
        )
        assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == []
