import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from retrievers.dense_training import TrainingSettings, hold_out, sample_events, train
from retrievers.encoder import Encoder


def readable(data, *, but=()):
    out = np.ones(data.n_items, bool)
    out[list(but)] = False
    return out


def test_the_newest_event_is_held_out_of_training(tiny):
    held = hold_out(tiny, readable(tiny), 10, 20, np.random.default_rng(0))
    assert len(held.users) == 10
    for user, target in zip(held.users, held.targets, strict=True):
        assert tiny.histories[user][-1] == target
        assert held.train.histories[user].tolist() == tiny.histories[user][:-1].tolist()
    assert len(held.train) == len(tiny) - 10
    assert set(held.targets) <= set(held.pool)
    assert len(held.pool) == len(set(held.pool.tolist())) >= 20


def test_nobody_is_held_out_without_need(tiny):
    rng = np.random.default_rng(0)
    assert hold_out(tiny, readable(tiny), 0, 20, rng) is None
    assert hold_out(tiny, np.zeros(tiny.n_items, bool), 10, 20, rng) is None


def test_sampled_events_follow_an_event_of_the_same_user_with_text(tiny):
    silent = [0, 1, 2]
    rows = sample_events(tiny, readable(tiny, but=silent), 10**6, 1, np.random.default_rng(0))
    events = tiny.interactions
    assert len(set(rows.tolist())) == len(rows) > 0
    assert (events.users[rows] == events.users[rows - 1]).all()
    assert not np.isin(events.items[rows], silent).any()
    assert not np.isin(events.items[rows - 1], silent).any()
    expected = sum(
        1
        for history in tiny.histories
        for old, new in pairwise(history)
        if old not in silent and new not in silent
    )
    assert len(rows) == expected


def test_epochs_repeat_events_and_the_count_cuts_them(tiny):
    rows = sample_events(tiny, readable(tiny), 10**6, 2, np.random.default_rng(0))
    assert set(np.bincount(rows)[np.unique(rows)]) == {2}
    assert len(sample_events(tiny, readable(tiny), 7, 2, np.random.default_rng(0))) == 7


PAIRS = (
    ["crime 1", "war 2", "space 3", "music 4"] * 4,
    ["crime 5", "war 6", "space 7", "music 8"] * 4,
)


def run(tiny_encoder, **options):
    encoder = Encoder.load(tiny_encoder, "float32")
    settings = TrainingSettings(
        **{"batch_size": 4, "learning_rate": 1e-3, "epochs": 1, "looks": 4, **options}
    )
    return encoder, settings


def cosine_gap(encoder) -> float:
    """How much nearer an item is to its own successor than to the others'."""
    old, new = (encoder.encode(side[:4], tokens=16, batch_size=4, exact=True) for side in PAIRS)
    table = old @ new.T
    return float(table.diagonal().mean() - table[~np.eye(4, dtype=bool)].mean())


def test_training_draws_pairs_together_and_leaves_global_randomness_alone(tiny_encoder):
    encoder, settings = run(tiny_encoder)
    before = cosine_gap(encoder)
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002
    pairs = train(
        encoder.reading(16), PAIRS, settings, evaluate=None, bf16=False, seed=2, progress=False
    )
    assert pairs == 16
    assert cosine_gap(encoder) > 1.5 * before > 0
    after = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002
    assert after == states


def test_the_best_weights_stand_and_patience_ends_it(tiny_encoder):
    encoder, settings = run(tiny_encoder, patience=2)
    start = cosine_gap(encoder)
    values = iter([0.5, 0.4, 0.3, 0.9])  # before training, then worse, worse: stop
    pairs = train(
        encoder.reading(16),
        PAIRS,
        settings,
        evaluate=lambda: next(values),
        bf16=False,
        seed=2,
        progress=False,
    )
    assert pairs == 0
    assert cosine_gap(encoder) == pytest.approx(start, abs=1e-6)
    assert next(values) == 0.9


def test_it_stops_when_the_time_is_up(tiny_encoder):
    encoder, settings = run(tiny_encoder, max_seconds=1e-9)
    pairs = train(
        encoder.reading(16), PAIRS, settings, evaluate=None, bf16=False, seed=2, progress=False
    )
    assert pairs == 4  # one step of four


def test_it_is_silent_unless_asked(tiny_encoder, capfd):
    encoder, settings = run(tiny_encoder)
    train(encoder.reading(16), PAIRS, settings, evaluate=None, bf16=False, seed=2, progress=False)
    assert "".join(capfd.readouterr()) == ""
