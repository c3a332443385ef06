"""A user as a sequence of texts: the network, its training after the encoder, and what is kept."""

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from fusion import Dataset, Queries
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.testing import RetrieverContract, all_items
from fusion.work import counting
from retrievers.dense import Dense
from retrievers.dense_config import DenseConfig
from retrievers.dense_sequence_model import TextNetwork

pytest.importorskip("faiss")

SEQUENCE = {
    "size": 16,
    "heads": 2,
    "length": 6,
    "train": {
        "max_steps": 8,
        "batch_events": 64,
        "looks": 2,
        "validation_users": 6,
        "learning_rate": 1e-2,
    },
}
OPTIONS = {
    "user": "sequence",
    "sequence": SEQUENCE,
    "precision": "float32",
    "item_tokens": 16,
    "train": {"max_pairs": 24, "batch_size": 8, "looks": 2, "validation_users": 4},
}


def made(tiny_encoder, *, sequence=None, recipe=None, **options) -> Dense:
    settings = {**SEQUENCE, **(sequence or {})}
    settings["train"] = {**SEQUENCE["train"], **(recipe or {})}
    return Dense({"base_model": str(tiny_encoder), **OPTIONS, **options, "sequence": settings})


def zero_shot(tiny_encoder, **options) -> Dense:
    return made(tiny_encoder, train={"max_pairs": 0}, **options)


class TestDenseSequence(RetrieverContract):
    plugin = Dense
    options: ClassVar = OPTIONS
    tolerance: ClassVar = 1e-4  # float32: the layer norms of a network that is hardly trained

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, tiny):
        return tiny

    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tiny_encoder):
        return lambda: made(tiny_encoder)


def network(texts, **options) -> TextNetwork:
    torch.manual_seed(0)
    settings = {"size": 8, "layers": 1, "heads": 2, "dropout": 0.0, "length": 5, "gaps": True}
    return TextNetwork(texts, **{**settings, **options}).eval()


def test_embeddings_are_unit_vectors_of_what_texts_do_not_share():
    texts = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)) + 3
    model = network(texts)
    with torch.no_grad():
        table = model.table()
        told = (texts - texts.mean(0)) @ model.projection.weight.T
    expected = told / told.norm(dim=1, keepdim=True)
    torch.testing.assert_close(table, expected, atol=1e-5, rtol=0)


def test_states_are_as_long_as_the_scale_and_do_not_see_what_comes_later():
    texts = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    model = network(texts)
    items, gaps = torch.tensor([[0, 1, 2], [0, 1, 5]]), torch.zeros((2, 3), dtype=torch.long)
    with torch.no_grad():
        states = model(items, gaps, model.table())
    lengths = states.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 12.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(states[0, :2], states[1, :2])
    assert not torch.allclose(states[0, 2], states[1, 2])


def test_gaps_in_time_are_read_unless_told_not_to():
    texts = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    items = torch.tensor([[0, 1]])
    for read in (True, False):
        model = network(texts, gaps=read)
        with torch.no_grad():
            short, long = (model(items, torch.tensor([[0, g]]), model.table()) for g in (1, 20))
        assert torch.equal(short, long) != read


@pytest.fixture(scope="module")
def fitted(tiny_encoder, tiny) -> Dense:
    model = made(tiny_encoder)
    model.fit(tiny, FitContext(seed=1))
    return model


def test_a_score_is_the_cosine_of_the_state_and_the_projected_text(fitted, tiny):
    queries = tiny.queries(np.arange(3), exclude_seen=False)
    found = fitted.score(queries, all_items(queries, tiny.n_items))
    texts = torch.from_numpy(fitted._encode_items(np.arange(tiny.n_items, dtype=np.int32)))
    model = fitted._sequence._network
    for user in range(3):
        history = queries.history[user][-6:]
        times = queries.times[queries.history.offsets[user + 1] - len(history) :][: len(history)]
        steps = np.diff(times)
        gaps = [0, *(1 if s < 1 else 2 + int(np.log2(s)) for s in steps)]
        if len(queries.history[user]) > 6:  # the gap to the event before is known too
            earlier = queries.times[queries.history.offsets[user + 1] - 7]
            gaps[0] = 2 + int(np.log2(times[0] - earlier))
        with torch.no_grad():
            table = model.embedded(texts)
            state = model(
                torch.from_numpy(history.astype(np.int64))[None], torch.tensor([gaps]), table
            )[0, -1]
            expected = table @ state / state.norm()
        got = found.values[user * tiny.n_items : (user + 1) * tiny.n_items]
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-4)


def test_the_index_holds_projected_vectors(fitted, tiny):
    assert fitted._index.store.width == SEQUENCE["size"]
    vectors = fitted._index.store.take(np.arange(tiny.n_items))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def cycle(texts: dict[str, str], users: int = 60) -> Dataset:
    """Everybody walks round the items in one order, from another start."""
    names, rng = list(texts), np.random.default_rng(0)
    starts = rng.integers(len(names), size=users)
    rows = [
        (f"u{u}", names[(s + k) % len(names)], k) for u, s in enumerate(starts) for k in range(5)
    ]
    return Dataset.from_frames(
        pa.table(
            {k: [r[i] for r in rows] for i, k in enumerate(("user_id", "item_id", "timestamp"))}
        ),
        pa.table({"item_id": [*names, "twin"], "title": [*texts.values(), texts[names[3]]]}),
    )


WORDS = ("crime", "space", "music", "romance", "war", "comedy")
TEXTS = {f"i{n}": f"{WORDS[n % 6]} {WORDS[n // 6]} story {n}" for n in range(12)}
LONG = {"max_steps": 150, "validation_users": 0, "epochs": 1000}


def next_rank(model: Dense, data: Dataset) -> float:
    """Mean rank of what comes next on the walk, among all items."""
    names, ranks = list(TEXTS), []
    for n in range(len(names)):
        history = [data.catalog.vocabulary.index(names[(n + k) % 12]) for k in range(3)]
        target = data.catalog.vocabulary.index(names[(n + 3) % 12])
        queries = Queries.from_history(Ragged.of([history]), exclude_seen=False)
        values = model.score(queries, all_items(queries, data.n_items)).values
        ranks.append(1 + (values > values[target]).sum())
    return float(np.mean(ranks))


def test_it_learns_the_order_that_a_mean_cannot_know(tiny_encoder):
    data = cycle(TEXTS)
    model = zero_shot(tiny_encoder, recipe=LONG, sequence={"dropout": 0.0})
    model.fit(data, FitContext(seed=0))
    assert next_rank(model, data) < 1.8
    untrained = zero_shot(tiny_encoder, recipe={"max_steps": 0})
    untrained.fit(data, FitContext(seed=0))
    assert next_rank(untrained, data) > 3


def test_items_nobody_met_are_ranked_by_their_text_alone(tiny_encoder):
    data = cycle(TEXTS)
    model = zero_shot(tiny_encoder, recipe={**LONG, "max_steps": 20})
    model.fit(data, FitContext(seed=0))
    queries = data.queries(np.arange(4), exclude_seen=False)
    values = model.score(queries, all_items(queries, data.n_items)).values.reshape(4, -1)
    twin, same = (data.catalog.vocabulary.index(name) for name in ("twin", "i3"))
    np.testing.assert_allclose(values[:, twin], values[:, same], atol=1e-6)


def test_a_history_without_text_is_cold_and_mute_items_are_left_out(tiny_encoder):
    data = Dataset.from_frames(
        pa.table(
            {
                "user_id": ["u", "u", "u", "v", "v"],
                "item_id": ["a", "mute", "b", "a", "b"],
                "timestamp": [1, 2, 3, 1, 2],
            }
        ),
        pa.table({"item_id": ["a", "b", "mute"], "title": ["crime", "space war", None]}),
    )
    model = zero_shot(tiny_encoder)
    model.fit(data, FitContext())
    a, b, mute = (data.catalog.vocabulary.index(name) for name in ("a", "b", "mute"))
    queries = Queries.from_history(Ragged.of([[mute], [a, mute, b], [a, b]]), exclude_seen=False)
    values = model.score(queries, all_items(queries, 3)).values.reshape(3, 3)
    assert np.isnan(values[0]).all()
    assert np.isnan(values[:, mute]).all()
    np.testing.assert_allclose(values[1], values[2], atol=1e-6)


@pytest.mark.parametrize("refit", ["scratch", "continue"])
def test_refit_learns_from_the_newer_events_and_a_loaded_model_does_the_same(
    tiny_encoder, tiny, tmp_path, refit
):
    keep = np.ones(len(tiny), bool)
    keep[tiny.offsets[1:] - 1] = False
    model = made(tiny_encoder, recipe={"refit": refit, "validation_users": 0})
    model.fit(tiny.where(keep), FitContext(seed=1))
    assert model._sequence.steps == 8
    model.save(tmp_path)
    loaded = made(tiny_encoder, recipe={"refit": refit, "validation_users": 0})
    loaded.load(tmp_path, tiny)
    queries = tiny.queries(exclude_seen=False)
    asked = all_items(queries, tiny.n_items)
    before = model.score(queries, asked).values
    np.testing.assert_allclose(loaded.score(queries, asked).values, before, atol=1e-5)
    model.refit(tiny, FitContext(seed=2))
    loaded.refit(tiny, FitContext(seed=2))
    after = model.score(queries, asked).values
    np.testing.assert_allclose(loaded.score(queries, asked).values, after, atol=1e-4)
    assert np.abs(after - before).max() > 1e-3
    assert model._sequence.steps == 8  # what helped fit, for the next refit


def test_neither_the_encoder_nor_the_sequence_learns_from_what_it_is_stopped_on(
    tiny_encoder, tiny, monkeypatch
):
    from retrievers import dense, sequential_training

    told = {}
    lessons, train = dense.Lessons, sequential_training.train

    def looks(config, encoder, data, *rest):
        told["encoder"] = data
        return lessons(config, encoder, data, *rest)

    def trains(network, data, *rest, **options):
        told["sequence"] = data
        return train(network, data, *rest, **options)

    monkeypatch.setattr(dense, "Lessons", looks)
    monkeypatch.setattr(sequential_training, "train", trains)
    made(tiny_encoder).fit(tiny, FitContext(seed=1))
    assert len(told["sequence"]) == len(tiny) - 6  # six users' newest events
    assert len(told["encoder"]) == len(tiny) - 6 - 4  # and four more of its own


def test_an_added_item_is_projected_as_a_fitted_one(tiny_encoder):
    data = cycle(TEXTS)
    model = zero_shot(tiny_encoder)
    model.fit(data, FitContext())
    table = {
        "item_id": [*TEXTS, "twin", "new"],
        "title": [*TEXTS.values(), TEXTS["i3"], TEXTS["i5"]],
    }
    rows = data.interactions
    grown = Dataset.from_frames(
        pa.table(
            {
                "user_id": [data.users.ids[u] for u in rows.users],
                "item_id": [data.catalog.ids[i] for i in rows.items],
                "timestamp": rows.times,
            }
        ),
        pa.table(table),
    )
    model.update(grown)
    queries = grown.queries(np.arange(4), exclude_seen=False)
    values = model.score(queries, all_items(queries, grown.n_items)).values.reshape(4, -1)
    new, same = (grown.catalog.vocabulary.index(name) for name in ("new", "i5"))
    np.testing.assert_allclose(values[:, new], values[:, same], atol=1e-5)


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been_killed(
    tiny_encoder, tiny, tmp_path, monkeypatch
):
    from retrievers import sequential_training

    whole = made(tiny_encoder)
    whole.fit(tiny, FitContext(seed=1))
    score, looks = sequential_training.full_ndcg, []

    def dies(*args):
        looks.append(0)
        if len(looks) == 3:
            raise KeyboardInterrupt
        return score(*args)

    monkeypatch.setattr(sequential_training, "full_ndcg", dies)
    with pytest.raises(KeyboardInterrupt):
        made(tiny_encoder).fit(tiny, FitContext(seed=1, workdir=tmp_path))
    assert list(tmp_path.iterdir())
    monkeypatch.setattr(sequential_training, "full_ndcg", score)
    again = made(tiny_encoder)
    again.fit(tiny, FitContext(seed=1, workdir=tmp_path))
    queries = tiny.queries(exclude_seen=False)
    asked = all_items(queries, tiny.n_items)
    np.testing.assert_allclose(
        again.score(queries, asked).values, whole.score(queries, asked).values, atol=1e-5
    )
    assert not list(tmp_path.iterdir())


def test_a_request_counts_the_transformer(fitted, tiny):
    with counting() as work:
        fitted.retrieve(tiny.queries(np.arange(2)), 3)
    assert work.counts["passes"] == 1
    assert set(work.seconds) == {"encode", "search"}


def test_heads_divide_the_size():
    with pytest.raises(ValidationError, match="no multiple of heads"):
        DenseConfig(sequence={"size": 10, "heads": 4})


def test_a_recipe_that_says_one_thing_keeps_the_others_defaults():
    recipe = DenseConfig(sequence={"train": {"epochs": 3}}).sequence.train
    assert (recipe.epochs, recipe.refit) == (3, "scratch")
    assert recipe.learning_rate == DenseConfig().sequence.train.learning_rate


def test_a_refit_that_fails_leaves_no_model_that_answers_wrongly(tiny_encoder, tiny, monkeypatch):
    from fusion.errors import NotFittedError
    from retrievers import sequential_training

    model = made(tiny_encoder)
    model.fit(tiny, FitContext(seed=1))

    def fails(*args, **options):
        raise OSError("disk full")

    monkeypatch.setattr(sequential_training, "train", fails)
    with pytest.raises(OSError, match="disk full"):
        model.refit(tiny, FitContext(seed=1))
    with pytest.raises(NotFittedError):
        model.retrieve(tiny.queries(), 3)
