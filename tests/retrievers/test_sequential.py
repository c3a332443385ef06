from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from fusion import Dataset, Queries
from fusion.candidates import Missing
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.testing import RetrieverContract, all_items
from fusion.work import counting
from retrievers.sequential import Sequential

SMALL = {
    "size": 16,
    "heads": 2,
    "layers": 1,
    "length": 6,
    "dropout": 0.1,
    "train": {"max_steps": 12, "batch_events": 128, "looks": 2, "negatives": 8},
}


class TestSequentialByIds(RetrieverContract):
    plugin = Sequential
    options: ClassVar = {**SMALL, "text": None}
    tolerance = 1e-4
    retrained_tolerance = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny


class TestSequentialWithTexts(RetrieverContract):
    plugin = Sequential
    tolerance = 1e-4
    retrained_tolerance = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tiny_encoder):
        return lambda: Sequential({**SMALL, "text": str(tiny_encoder)})

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny


def ring(users: int = 60, items: int = 12, events: int = 8) -> Dataset:
    """Everybody walks round a ring of items, from somewhere on: i is followed by i + 1."""
    rows = [(u, (u * 5 + t) % items, t) for u in range(users) for t in range(events)]
    users_, items_, times = zip(*rows, strict=True)
    return Dataset.from_frames(
        pa.table(
            {
                "user_id": [f"u{u}" for u in users_],
                "item_id": [f"i{i:02}" for i in items_],
                "timestamp": list(times),
            }
        )
    )


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "gbce"])
def test_every_loss_learns_what_follows(loss):
    data = ring()
    model = Sequential(
        {
            **SMALL,
            "text": None,
            "train": {
                "loss": loss,
                "max_steps": 150,
                "negatives": 6,
                "learning_rate": 0.01,
                "batch_events": 256,
                "epochs": 100,
            },
        }
    )
    model.fit(data, FitContext(seed=1))
    ids = data.catalog.ids
    follows = {f"i{i:02}": ids.index(f"i{(i + 1) % 12:02}") for i in range(12)}
    history = [[ids.index(f"i{(i - 1) % 12:02}"), ids.index(f"i{i:02}")] for i in range(12)]
    queries = Queries.from_history(Ragged.of(history))
    first = model.retrieve(queries, 1)
    assert first.items.tolist() == [follows[f"i{i:02}"] for i in range(12)]


def test_scores_are_logarithms_of_probabilities(tiny):
    model = Sequential({**SMALL, "text": None})
    model.fit(tiny, FitContext(seed=3))
    queries = tiny.queries(np.arange(4), exclude_seen=False)
    found = model.score(queries, all_items(queries, tiny.n_items)).values.reshape(4, -1)
    np.testing.assert_allclose(np.nansum(np.exp(found), axis=1), 1.0, rtol=1e-4)


def test_an_item_nobody_met_is_cold_without_text_and_scored_with_it(tiny_encoder):
    events = pa.table(
        {
            "user_id": ["a", "a", "b", "b"],
            "item_id": ["x", "y", "x", "y"],
            "timestamp": [1, 2, 1, 2],
        }
    )
    items = pa.table(
        {"item_id": ["x", "y", "new", "blank"], "title": ["war", "space", "music", ""]}
    )
    data = Dataset.from_frames(events, items)
    queries = data.queries()
    place = {name: i for i, name in enumerate(data.catalog.ids)}
    for text, cold in ((None, {"new", "blank"}), (str(tiny_encoder), {"blank"})):
        model = Sequential({**SMALL, "text": text})
        model.fit(data, FitContext())
        why = model.score(queries, all_items(queries, data.n_items)).why.reshape(2, -1)
        for name in place:
            expected = Missing.COLD if name in cold else Missing.PRESENT
            assert (why[:, place[name]] == expected).all(), (text, name)


def test_only_the_newest_events_are_read(tiny):
    model = Sequential({**SMALL, "text": None, "length": 2})
    model.fit(tiny, FitContext(seed=3))
    items = tiny.catalog.vocabulary
    long = Queries.from_history(Ragged.of([[5, 6, 0, 1]]), exclude_seen=False)
    short = Queries.from_history(Ragged.of([[0, 1]]), exclude_seen=False)
    assert len(items) > 6
    for one, other in zip(
        model.score(long, all_items(long, tiny.n_items)).values,
        model.score(short, all_items(short, tiny.n_items)).values,
        strict=True,
    ):
        assert one == pytest.approx(other, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("how", ["continue", "scratch"])
def test_refit_learns_of_new_items(tiny, how):
    seen = tiny.interactions.items != tiny.interactions.items[0]
    model = Sequential({**SMALL, "text": None, "train": {**SMALL["train"], "refit": how}})
    model.fit(tiny.where(seen), FitContext(seed=3))
    queries = tiny.queries(np.arange(3), exclude_seen=False)
    column = int(tiny.interactions.items[0])

    def whys():
        return model.score(queries, all_items(queries, tiny.n_items)).why.reshape(3, -1)[:, column]

    assert (whys() == Missing.COLD).all()
    model.refit(tiny, FitContext(seed=3))
    assert (whys() == Missing.PRESENT).all()


def test_a_killed_training_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):
    """The run that was killed and resumed ends with the weights of the run that was not."""
    from finetuning.stopping import Watch

    def fitted(folder: Path | None) -> Sequential:
        model = Sequential({**SMALL, "text": None})
        model.fit(tiny, FitContext(seed=3, workdir=folder))
        return model

    whole = fitted(None)
    step = Watch.on_step_end
    taken: list[int] = []

    def dying(self, args, state, control, **kwargs):
        taken.append(state.global_step)
        if state.global_step == 9 and len(taken) == 9:
            raise KeyboardInterrupt
        return step(self, args, state, control, **kwargs)

    monkeypatch.setattr(Watch, "on_step_end", dying)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path)
    resumed = fitted(tmp_path)
    assert taken == [*range(1, 10), *range(7, 13)]  # from the checkpoint after step 6
    np.testing.assert_allclose(
        resumed._network.free.detach().numpy(), whole._network.free.detach().numpy(), atol=1e-6
    )
    assert list(tmp_path.iterdir()) == []


def test_work_is_counted(tiny):
    model = Sequential({**SMALL, "text": None})
    model.fit(tiny, FitContext(seed=3))
    queries = Queries.from_history(Ragged.of([[0, 1, 2]]))
    with counting() as work:
        model.retrieve(queries, 3)
    known = int((tiny.popularity > 0).sum())
    blocks = 2 * 3 * 12 * 16**2 + 4 * 3 * 3 * 16
    assert work.counts == {"tokens": 3, "passes": 1, "flops": blocks + 2 * 16 * known}


def test_heads_must_divide_size():
    with pytest.raises(ValueError, match="no multiple of heads"):
        Sequential({"size": 10, "heads": 4})
