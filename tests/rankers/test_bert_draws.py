from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bert_examples import dataset, known

from finetuning.propensity import weights
from fusion import Candidates, Dataset
from fusion.candidates import Scores
from fusion.errors import ConfigError
from fusion.protocols import FitContext, Retriever
from fusion.queries import Queries
from fusion.ragged import Ragged
from rankers.bert import Bert
from rankers.bert_config import Config
from rankers.bert_draws import draw_training, draw_validation, with_hard
from rankers.bert_examples import Events, split_events
from rankers.bert_text import Texts

LETTERS = "abcdefghij"


class Alphabet(Retriever):
    """Items in the order of their index, whoever asks."""

    def fit(self, data: Dataset, context: FitContext) -> None:
        self.n = data.n_items

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        return Scores.of(-candidates.items.astype(np.float32))

    def retrieve(self, queries: Queries, n: int) -> Candidates:
        lists = [[i for i in range(self.n) if i not in out][:n] for out in queries.excluded]
        found = Ragged.of(lists)
        bare = Candidates.bare(found.offsets, found.values)
        scores = self.score(queries, bare).values[:, None]
        return Candidates(
            found.offsets, found.values, scores, ("alphabet",), np.zeros(scores.shape, np.uint8)
        )

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path, data: Dataset) -> None: ...


def setting(met: dict[str, str], silent: str = "", **options: Any):
    data = dataset(met, LETTERS, silent)
    rng = np.random.default_rng(0)
    events = split_events(data, known(data), validation_users=0, rated=False, rng=rng)
    texts = Texts(Ragged.of([[9] if t else [] for t in data.catalog.texts]), 2, 3, 0, 8, 40)
    config = Config.model_validate({"batch_size": 4, "negatives": 4, **options})
    model = Alphabet()
    model.fit(data, FitContext())
    return data, events, texts, config, FitContext(fitted={"alphabet": model})


HARD = {"share": 0.5, "models": ["alphabet"], "skip": 0, "depth": 4}


def test_a_share_of_the_negatives_is_what_other_models_rank_high() -> None:
    data, events, texts, config, context = setting({"u": "jih", "v": "ab"}, hard_negatives=HARD)
    rng = np.random.default_rng(0)
    rows = np.array([1, 1, 2])  # u before i, twice, and before h
    drawn = np.full((3, 4), data.catalog.vocabulary.index("g"), np.int32)
    out = with_hard(drawn, events, data, texts, rows, config, context, rng)
    assert (out == drawn).sum(axis=1).tolist() == [2, 2, 2]
    # the model's first four that u did not meet
    new = [i for i, name in enumerate(data.catalog.ids) if name not in "jih"]
    assert set(out[:, :2].ravel().tolist()) <= set(new[:4])


@settings(max_examples=25, deadline=None)
@given(
    met=st.lists(
        st.lists(st.sampled_from(LETTERS), min_size=2, max_size=8, unique=True),
        min_size=1,
        max_size=3,
    ),
    share=st.sampled_from([0.25, 0.5, 1.0]),
    margin=st.sampled_from([None, 0.5, 1.0]),
    seed=st.integers(0, 9),
)
def test_no_negative_was_met_or_is_silent_or_above_the_guard(
    met: list[list[str]], share: float, margin: float | None, seed: int
) -> None:
    histories = {f"u{n}": "".join(own) for n, own in enumerate(met)}
    hard = {**HARD, "share": share, "margin": margin, "depth": 10}
    silent = "c"
    data, events, texts, config, context = setting(histories, silent, hard_negatives=hard)
    if not len(events.train):
        return
    rng = np.random.default_rng(seed)
    examples = draw_training(events, data, texts, config, rng, 2, context=context)
    names = np.array([*data.catalog.ids, "-"])
    for row, items, labels in zip(examples.rows, examples.items, examples.labels, strict=True):
        own = set(histories[data.users.ids[events.users[row]]])
        filled = items[1:][items[1:] >= 0]
        assert not set(names[filled].tolist()) & (own | {silent})
        assert not (np.diff((items >= 0).astype(int)) > 0).any()  # the filled places come first
        np.testing.assert_array_equal(np.isnan(labels), items < 0)
        places = round(share * config.negatives)
        if margin == 1.0 and share == 1.0 and len(filled) == places:
            # with the guard, mined ones score below the positive: their index is higher
            mined = [i for i in range(data.n_items) if names[i] not in own | {silent}]
            below = [i for i in mined if i > items[0]]
            if len(below) >= places:
                assert (filled > items[0]).all()


def test_a_model_that_is_not_there_is_named() -> None:
    data, events, texts, config, _ = setting({"u": "abc"}, hard_negatives=HARD)
    with pytest.raises(ConfigError, match="alphabet"):
        draw_training(
            events, data, texts, config, np.random.default_rng(0), 1, context=FitContext()
        )


def test_what_a_model_needs_is_said() -> None:
    assert Bert({"hard_negatives": HARD}).needs() == ("alphabet",)
    assert Bert({"hard_negatives": {**HARD, "share": 0.0}}).needs() == ()
    assert Bert().needs() == ()


def test_rows_without_hard_negatives_keep_sampled_ones() -> None:
    data, events, texts, config, context = setting(
        {"u": "ab", "v": "abcdefgh"}, hard_negatives={**HARD, "depth": 5, "skip": 4, "share": 1.0}
    )
    # v has two items left, all among the first 4 that are left out
    v = np.flatnonzero(events.users == data.users.index("v"))[-1:]
    drawn = np.array([[8, 9, 8, 9]], np.int32)
    rng = np.random.default_rng(0)
    out = with_hard(drawn, events, data, texts, v, config, context, rng)
    np.testing.assert_array_equal(out, drawn)


def prepared(head: str, **options: Any) -> tuple[Dataset, Events, Any]:
    met = {**{f"u{n}": "ab" for n in range(6)}, "v": "acb", "w": "ad"}
    data, events, texts, config, context = setting(met, head=head, **options)
    rng = np.random.default_rng(0)
    return (
        data,
        events,
        draw_training(events, data, texts, config, rng, 8, context=context, scale=(1.5, 2.0)),
    )


def test_a_moment_counts_by_the_item_met_next() -> None:
    asked = {"power": 0.5, "clip": 10.0}
    data, _, examples = prepared("ctr", propensity=asked)
    each = weights(data.popularity, Config.model_validate({"propensity": asked}).propensity)
    np.testing.assert_allclose(examples.weights, np.tile(each[examples.items[:, :1]], (1, 5)))
    rare, usual = (data.catalog.vocabulary.index(name) for name in "db")
    assert each[rare] > each[usual]
    _, _, plain = prepared("ctr")
    assert plain.weights is None
    assert plain.ratings is None


def test_a_rating_counts_by_its_own_item() -> None:
    data, _, examples = prepared("rating", propensity={"power": 1.0})
    each = weights(
        data.popularity, Config.model_validate({"propensity": {"power": 1.0}}).propensity
    )
    real = examples.items >= 0
    np.testing.assert_allclose(examples.weights[real], each[examples.items[real]])


def test_the_second_task_has_the_rating_of_what_was_met() -> None:
    _, events, examples = prepared("multi_task")
    expected = (events.ratings[examples.rows] - 1.5) / 2.0
    np.testing.assert_allclose(examples.ratings[:, 0], expected)
    assert np.isnan(examples.ratings[:, 1:]).all()
    some = examples.take(np.array([2, 0]))
    np.testing.assert_array_equal(some.ratings, examples.ratings[[2, 0]])


def test_accumulated_batches_need_more_examples() -> None:
    _, _, examples = prepared("ctr", optimization={"accumulate": 3})
    assert len(examples) == 8 * 4 * 3


def test_validation_has_sampled_items_and_no_weights() -> None:
    data, events, texts, config, _ = setting(
        {"u": "abc", "v": "de"}, hard_negatives=HARD, propensity={"power": 1.0}
    )
    events = replace(events, validation=np.array([2]))
    held = draw_validation(events, data, texts, config, np.random.default_rng(0))
    assert held.weights is None
    assert held.items.shape == (1, 1 + config.validation_candidates)
