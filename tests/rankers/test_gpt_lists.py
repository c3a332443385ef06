from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gpt_models import save_model, tokenizer

from fusion import Dataset
from fusion.errors import ConfigError
from rankers.gpt_base import load_model
from rankers.gpt_cache import HistoryCache
from rankers.gpt_config import ListSettings
from rankers.gpt_lists import Lists, log_odds, sampling_weights, score_lists
from rankers.gpt_prompt import Prompts, PromptSettings
from rankers.gpt_reader import Reader
from rankers.gpt_rendering import Events

WORDING = PromptSettings(history=3)


@pytest.fixture(scope="module")
def lists(tiny: Dataset) -> Lists:
    prompts = Prompts.of(tiny.catalog, "title", WORDING, tokenizer())
    settings = ListSettings(list_size=5, permutations=2)
    return Lists.of(prompts, tiny, "title", WORDING, settings, tokenizer())


def test_a_list_written_out(lists: Lists) -> None:
    shown = lists.show(Events.of([3, 1, 4]), 0)
    text = tokenizer().decode(np.concatenate([shown.stem, lists.branch(shown, 7)]).tolist())
    head, _, body = text.partition("Which of these is the next choice?\n")
    assert head == tokenizer().decode(lists.prompts.sequence([3, 1, 4]).tolist())
    *lines, cue = body.split("\n")
    assert cue.strip() == "Answer:"
    titles = [lists.prompts.items[i] for i in [*shown.others.tolist(), 7]]
    assert [line.partition(". ")[2] + "\n" for line in lines] == [
        tokenizer().decode(t.tolist()) for t in titles
    ]
    labels = [line.partition(".")[0] for line in lines]
    assert labels == list("ABCDE")
    assert [tokenizer().decode([t]).strip() for t in shown.labels.tolist()] == labels


def test_others_are_fixed_by_the_history(lists: Lists) -> None:
    events = Events.of([3, 1, 4])
    shown = [lists.show(events, number) for number in range(4)]
    assert len({frozenset(one.others.tolist()) for one in shown}) == 1
    assert len({tuple(one.others.tolist()) for one in shown}) > 1
    assert len({tuple(one.labels.tolist()) for one in shown}) == 1
    assert not set(shown[0].others.tolist()) & {3, 1, 4}
    again = lists.show(Events.of([9, 9, 3, 1, 4]), 0)  # only the newest three are read
    np.testing.assert_array_equal(again.stem, shown[0].stem)
    others = lists.show(Events.of([4, 1, 3]), 0).others
    assert set(others.tolist()) != set(shown[0].others.tolist())
    kept = lists.show(events, 0, without=[int(shown[0].others[0])]).others
    assert shown[0].others[0] not in kept


def test_a_small_catalogue_makes_a_short_list(tiny: Dataset, lists: Lists) -> None:
    few = np.zeros(tiny.n_items)
    few[[2, 5]] = 1.0
    small = Lists(**{**vars(lists), "weights": few})
    shown = small.show(Events.of([2]), 0)
    assert shown.others.tolist() == [5]
    assert len(shown.labels) == 2


def test_popular_items_are_drawn_more_often(tiny: Dataset) -> None:
    weights = sampling_weights(tiny, np.arange(tiny.n_items) != 3)
    counts = np.bincount(tiny.interactions.items, minlength=tiny.n_items)
    assert weights[3] == 0
    assert weights[5] == pytest.approx(max(1, counts[5]) ** 0.75)


def test_log_odds_written_out() -> None:
    logits = np.log(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]], np.float32))
    found = log_odds(logits, np.array([8, 4]), np.array([4, 6]))
    # 3 against 1 + 2; the second is shown twice: 5 + 1 against 2
    np.testing.assert_allclose(np.exp(found), [3 / 3, 6 / 2], rtol=1e-6)
    alone = log_odds(np.array([[1.0]], np.float32), np.array([8]), np.empty(0, np.int64))
    assert alone.tolist() == [0.0]


@pytest.mark.parametrize("kind", ["llama", "granite"])
def test_scores_are_those_of_separate_passes(tmp_path: Path, lists: Lists, kind: str) -> None:
    model = load_model(save_model(tmp_path, kind), torch.float32)
    histories = [Events.of([3, 1, 4]), Events.of([2])]
    items = [np.array([7, 8, 9, int(lists.show(histories[0], 0).others[1])]), np.array([5])]
    wanted = []
    for events, row in zip(histories, items, strict=True):
        for item in row.tolist():
            each = []
            for number in range(2):
                shown = lists.show(events, number)
                ids = np.concatenate([shown.stem, lists.branch(shown, item)])
                with torch.no_grad():
                    logits = model(input_ids=torch.from_numpy(ids)[None]).logits[0, -1]
                chance = logits.double().softmax(0)[shown.labels].numpy()
                own = np.array([*(shown.others == item), True])
                each.append(np.log(chance[own].sum()) - np.log(chance[~own].sum()))
            wanted.append(np.mean(each))
    for budget, cache in ((2048, 0), (120, 2**20)):
        reader = Reader(model, HistoryCache(cache))
        found = score_lists(reader, lists, histories, items, longest=budget, budget=budget)
        np.testing.assert_allclose(np.concatenate(found), wanted, atol=1e-4)
    assert np.std(wanted) > 0.01


def test_labels_without_a_token_of_their_own_are_refused(lists: Lists, tiny: Dataset) -> None:
    class Letters:
        """Spells every text letter by letter, and knows all small letters as one."""

        def __call__(self, texts, **_):
            return {"input_ids": [[ord(c.upper()) for c in text] for text in texts]}

    settings = ListSettings(list_size=30)
    with pytest.raises(ConfigError, match="list_size"):
        Lists.of(lists.prompts, tiny, "title", WORDING, settings, Letters())
