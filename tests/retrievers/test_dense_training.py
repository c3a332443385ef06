import json
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fusion.protocols import FitContext
from retrievers.dense_config import DenseConfig
from retrievers.dense_lessons import Lessons
from retrievers.dense_recipe import TrainingSettings
from retrievers.dense_training import pretrain, train
from retrievers.encoder import Encoder

TRAIN = {"max_pairs": 48, "batch_size": 12, "learning_rate": 1e-3, "looks": 4}


class Run:
    """A training of the tiny encoder on the tiny data set."""

    def __init__(self, tiny, tiny_encoder, *, user="mean", encoder=None, **options):
        self.encoder = encoder or Encoder.load(tiny_encoder, "float32")
        self.config = DenseConfig(
            base_model=str(tiny_encoder),
            precision="float32",
            item_tokens=16,
            user_tokens=40,
            user=user,
            train={**TRAIN, **options},
        )
        readable = np.array([bool(text) for text in tiny.catalog.texts])
        self.lessons = Lessons(self.config, self.encoder, tiny, readable, 48, FitContext())
        self.start = self.state()

    def go(self, *, evaluate=None, folder=None, seed=2):
        return train(
            self.encoder,
            self.lessons.reader,
            self.config.train,
            evaluate=evaluate,
            seed=seed,
            folder=folder,
            bar="",
        )

    def state(self):
        return {name: value.clone() for name, value in self.encoder.model.state_dict().items()}

    def moved(self):
        """Names of the weights that are not what they were."""
        return {k for k, v in self.state().items() if not torch.equal(v, self.start.get(k, v * 0))}

    def loss(self, group=None):
        """Of the first batch, without dropout."""
        from retrievers.dense_loss import NextItem

        reader = self.lessons.reader(2)
        reader.group = group or reader.group
        batch = reader([{"number": 0}])
        with torch.no_grad():
            loss = NextItem(self.encoder.model, scale=20.0)
            return float(loss(batch["features"], batch["lesson"]))


@pytest.fixture(scope="module")
def make(tiny, tiny_encoder):
    return lambda **options: Run(tiny, tiny_encoder, **options)


@pytest.fixture(scope="module")
def plain(make):
    """A training without any option."""
    run = make()
    run.go()
    return run


@pytest.mark.parametrize("user", ["mean", "text"])
def test_training_lowers_the_loss_and_leaves_global_randomness_alone(make, user):
    run = make(user=user)
    before = run.loss()
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002
    assert run.go() == 48
    assert run.loss() < before - 0.05
    after = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()  # noqa: NPY002
    assert after == states


WEIGHT = "0.model.encoder.layer.0.output.dense.weight"


def test_the_best_weights_stand_and_patience_ends_it(make):
    run = make(patience=2)
    values = iter([0.5, 0.4, 0.3, 0.9])  # before training, then worse, worse: stop
    assert run.go(evaluate=lambda: next(values)) == 0
    assert run.moved() == set()
    assert next(values) == 0.9


def test_examples_are_counted_up_to_the_best_look(make):
    values = iter([0.1, 0.2, 0.5, 0.4, 0.3])
    assert make(patience=4).go(evaluate=lambda: next(values)) == 24  # two steps of twelve


def test_it_stops_when_the_time_is_up(make):
    assert make(max_seconds=1e-9).go() == 12  # one step


def test_batches_are_summed_to_a_step(make):
    assert make(optimization={"accumulate": 2}).go() == 48
    assert make(optimization={"accumulate": 9}).go() == 48  # four batches are all there are


def test_it_is_silent_unless_asked(make, capfd):
    run = make()
    run.go()
    assert "".join(capfd.readouterr()) == ""


class TestTune:
    """What is trained, and that a plain encoder comes out of it."""

    def test_a_head_is_a_projection_and_nothing_else_moves(self, make, tmp_path):
        run = make(tune="head")
        run.go()
        assert run.moved() == {"2.linear.weight"}
        text = ["crime 1"]
        told = run.encoder.encode(text, tokens=16, batch_size=1, exact=True)
        run.encoder.save(tmp_path)
        loaded = Encoder.load(tmp_path, "float32")
        found = loaded.encode(text, tokens=16, batch_size=1, exact=True)
        np.testing.assert_allclose(found, told, atol=1e-6)

    def test_a_projection_changes_nothing_before_it_is_trained(self, make):
        encoder = make().encoder
        text = ["crime 1", "war"]
        before = encoder.encode(text, tokens=16, batch_size=2, exact=True)
        encoder.project()
        encoder.project()  # once only
        assert len(list(encoder.model)) == 3
        after = encoder.encode(text, tokens=16, batch_size=2, exact=True)
        np.testing.assert_array_equal(after, before)

    def test_the_last_layer_alone(self, make):
        run = make(tune={"kind": "last", "layers": 1})
        run.go()
        moved = run.moved()
        assert moved
        assert all(".encoder.layer.0." in name for name in moved)

    @pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
    def test_adapters_are_merged_into_plain_weights(self, make, tmp_path, kind):
        run = make(tune=kind, learning_rate=1e-2)
        names = set(run.start)
        before = run.loss()
        run.go()
        assert set(run.state()) == names  # no adapter is left
        assert run.moved()
        assert not any("embeddings" in name for name in run.moved())
        assert run.loss() < before
        assert all(p.requires_grad for p in run.encoder.model.parameters())
        run.encoder.save(tmp_path)
        assert Encoder.load(tmp_path, "float32").digest == run.encoder.digest

    def test_none_trains_nothing(self, make):
        run = make(tune="none")
        assert run.go() == 0
        assert run.moved() == set()

    @pytest.mark.parametrize("kind", ["prefix", "prompt"])
    def test_what_cannot_be_merged_is_refused(self, kind):
        with pytest.raises(ValidationError, match="cannot be merged"):
            TrainingSettings(tune=kind)


@pytest.mark.parametrize(
    "options",
    [
        {"adversarial": "fgm"},
        {"adversarial": {"kind": "pgd", "steps": 2}},
        {"r_drop": 1.0},
        {"logq": 1.0},
        {"propensity": {"power": 0.5}},
        {"augmentation": {"crop": 0.5, "mask": 0.5, "reorder": 0.5}},
        {"optimization": {"checkpoint_activations": True}},
        {"optimization": {"schedule": "cosine"}},
    ],
    ids=str,
)
def test_each_option_trains_and_makes_a_difference_where_it_should(make, plain, options):
    other = make(**options)
    before = other.loss()
    other.go()
    assert other.loss() < before
    same = all(torch.equal(v, plain.state()[k]) for k, v in other.state().items())
    assert same == ("checkpoint_activations" in str(options))


def test_a_rewritten_text_is_what_is_read(make, tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"story": ["war"]}))
    run = make(augmentation={"synonyms": str(file), "synonym_share": 1.0})
    war = run.encoder.model.tokenizer.convert_tokens_to_ids("war")
    story = run.encoder.model.tokenizer.convert_tokens_to_ids("story")
    ids = torch.cat(
        [
            group["input_ids"].flatten()
            for group in run.lessons.reader(0)([{"number": 0}])["features"]
        ]
    )
    assert war in ids
    assert story not in ids


def test_a_seed_decides_and_several_are_averaged(make, plain):
    third, both = make(), make(seeds={"count": 2})
    third.go(seed=3)
    both.go(seed=2)
    one, other = plain.state()[WEIGHT], third.state()[WEIGHT]
    assert not torch.equal(one, other)
    torch.testing.assert_close(both.state()[WEIGHT], (one + other) / 2)


def test_a_greedy_soup_is_no_worse_than_its_best(make):
    run = make(seeds={"count": 2, "soup": "greedy"}, looks=1)
    told = []

    def evaluate():
        told.append(-run.loss())
        return told[-1]

    run.go(evaluate=evaluate)
    assert -run.loss() >= max(told[1], told[3]) - 1e-6  # after each of the two


def test_pretraining_changes_the_transformer_and_is_kept(make, tmp_path, monkeypatch):
    options = {"pretraining": {"steps": 2, "batch_size": 2, "tokens": 16, "learning_rate": 1e-2}}
    texts = ["the story of crime", "space and war", "music 7"]

    def go(run):
        pretrain(
            run.encoder,
            texts,
            run.config.train,
            tokens=16,
            seed=1,
            folder=tmp_path,
            progress=False,
        )
        return run

    first = go(make(**options))
    assert first.moved()
    monkeypatch.setattr("finetuning.pretraining.adapt_masked", lambda *a, **o: pytest.fail("again"))
    again = go(make(**options))
    assert again.encoder.digest == first.encoder.digest
    assert go(make()).moved() == set()  # no steps, nothing done


KILLED = """
    import os, signal, sys
    os.environ["HF_HUB_OFFLINE"] = "1"
    from pathlib import Path
    import torch
    torch.set_num_threads(1)
    sys.path[:0] = {tests!r}
    from fusion import Dataset
    from test_dense_training import Run
    from tiny_data import tiny_frames

    run = Run(Dataset.from_frames(*tiny_frames()), Path({encoder!r}))
    looks = []

    def evaluate():
        looks.append(0)
        if len(looks) == 4:  # in the middle: two checkpoints are there
            os.kill(os.getpid(), signal.SIGKILL)
        return float(len(looks))

    run.go(evaluate=evaluate, folder=Path({folder!r}))
"""


class TestKilled:
    """A run that was killed in the middle goes on and ends as if nothing had been."""

    def values(self):
        return iter([1.0, 2.0, 3.0, 4.0, 5.0])

    @pytest.mark.parametrize("options", [{}, {"tune": "lora"}, {"seeds": {"count": 2}}], ids=str)
    def test_it_goes_on_from_the_last_checkpoint(self, make, tmp_path, options):
        class Killed(BaseException):
            pass

        straight = make(**options)
        steps = iter(range(1, 99))
        seen = straight.go(evaluate=lambda: float(next(steps)))

        count = iter(range(1, 99))

        def dies():
            number = next(count)
            if number == 4:
                raise Killed
            return float(number)

        killed = make(**options)
        with pytest.raises(Killed):
            killed.go(evaluate=dies, folder=tmp_path)
        assert list(tmp_path.rglob("best.json"))

        again, looks = make(**options), []

        def evaluate():
            looks.append(0)
            return float(3 + len(looks))

        assert again.go(evaluate=evaluate, folder=tmp_path) == seen
        first = 2 if "seeds" not in options else 2 + 5
        assert len(looks) == first  # the looks that were missing
        for name, value in straight.state().items():
            torch.testing.assert_close(again.state()[name], value, rtol=0, atol=1e-6)
        assert list(tmp_path.rglob("checkpoint-*")) == []

    def test_a_killed_process_too(self, tiny_encoder, tmp_path, make):
        here = Path(__file__).parent
        code = textwrap.dedent(KILLED).format(
            tests=[str(here), str(here.parent)], encoder=str(tiny_encoder), folder=str(tmp_path)
        )
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        again, straight, looks = make(), make(), []
        steps = iter(range(1, 99))
        straight.go(evaluate=lambda: float(next(steps)))

        def evaluate():
            looks.append(0)
            return float(3 + len(looks))

        again.go(evaluate=evaluate, folder=tmp_path)
        assert len(looks) == 2
        for name, value in straight.state().items():
            torch.testing.assert_close(again.state()[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("user", ["mean", "text"])
def test_how_many_texts_share_a_pass_changes_no_loss(make, user):
    run = make(user=user)
    assert run.loss(group=3) == pytest.approx(run.loss(group=256), abs=1e-5)
