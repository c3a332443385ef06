"""The real SmolLM2 on real titles: what the tiny models cannot show."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import kendalltau

from fusion import Dataset, Queries
from fusion.candidates import Candidates
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.work import counting
from rankers.device import working_dtype
from rankers.gpt import Gpt
from rankers.gpt_base import load_model, load_tokenizer, resolve
from rankers.gpt_cache import HistoryCache
from rankers.gpt_quantize import quantized
from rankers.gpt_reader import Reader
from rankers.gpt_rendering import Events
from rankers.gpt_scoring import likelihoods

pytestmark = pytest.mark.real
TITLES = [
    "The Godfather", "The Godfather: Part II", "The Shawshank Redemption", "Toy Story",
    "Toy Story 2", "Heat", "Casino", "Sabrina", "Star Wars: Episode IV - A New Hope",
    "Star Wars: Episode V - The Empire Strikes Back", "Goodfellas", "Pulp Fiction", "Fargo",
    "The Silence of the Lambs", "Scarface", "The Untouchables", "Mean Streets", "Taxi Driver",
    "Babe", "Dumbo",
]  # fmt: skip
SEEN = "Chosen one after another:\nThe Godfather: Part III\nDonnie Brasco\nCarlito's Way\n"
WIDE = {"longest": 2048, "budget": 2048}


@pytest.fixture(scope="module")
def base():
    try:
        return resolve("SmolLM2-135M-Instruct")
    except Exception as error:  # the package is an extra
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def history(base) -> np.ndarray:
    return np.array(load_tokenizer(base.folder)(SEEN, add_special_tokens=False)["input_ids"])


@pytest.fixture(scope="module")
def items(base) -> list[np.ndarray]:
    spell = load_tokenizer(base.folder)
    texts = [title + "\n" for title in TITLES]
    return [np.array(t) for t in spell(texts, add_special_tokens=False)["input_ids"]]


@pytest.fixture(scope="module")
def exact(base, history, items) -> np.ndarray:
    """One pass a candidate in float32, no mask, all logits."""
    model = load_model(base.folder, torch.float32)
    out = []
    for item in items:
        ids = torch.from_numpy(np.concatenate([history, item]))[None]
        with torch.inference_mode():
            logs = torch.log_softmax(model(input_ids=ids).logits[0], 1)
        out.append(
            float(logs[len(history) - 1 : -1].gather(1, ids[0, len(history) :, None]).mean())
        )
    return np.array(out)


def test_scores_are_the_naive_ones_and_share_what_is_alike(base, history, items, exact) -> None:
    reader = Reader(load_model(base.folder, torch.float32), HistoryCache(2**26))
    prefixes = {tuple(item[: i + 1]) for item in items for i in range(len(item) - 1)}
    for known in (0, len(history)):
        with counting() as work:
            (found,) = likelihoods(reader, [history], [items], **WIDE)
        np.testing.assert_allclose(found, exact, atol=1e-4, rtol=0)
        assert work.counts["tokens"] == len(history) - known + len(prefixes)
        assert work.counts["cache_hits"] == (known > 0)


def test_int8_ranks_almost_as_full_precision(base, history, items, exact) -> None:
    pytest.importorskip("torchao")
    model = load_model(base.folder, working_dtype("auto", "cpu"))
    (half,) = likelihoods(Reader(model), [history], [items], **WIDE)
    assert kendalltau(half, exact).statistic >= 0.97
    (small,) = likelihoods(Reader(quantized(model, "int8")), [history], [items], **WIDE)
    assert kendalltau(small, exact).statistic >= 0.93


@pytest.fixture(scope="module")
def films() -> Dataset:
    return Dataset.from_frames(
        pa.table({"user_id": ["u"] * len(TITLES), "item_id": TITLES}),
        pa.table({"item_id": TITLES, "text": TITLES}),
    )


def asked(films: Dataset, mode: str, rows: int, **config) -> tuple[Gpt, np.ndarray, list[int]]:
    """A zero-shot model, its scores of the first ``rows`` films after the last three, and those."""
    model = Gpt({"tune": "none", "dtype": "float32", "score": mode, **config})
    model.fit(films, FitContext())
    seen = [films.catalog.vocabulary.index(title) for title in TITLES[-3:]]
    items = np.array([films.catalog.vocabulary.index(t) for t in TITLES[:rows]], np.int32)
    candidates = Candidates.bare(np.array([0, rows]), items)
    return model, model.score(Queries.from_history(Ragged.of([seen])), candidates).values, seen


def test_labels_of_real_letters_are_read_as_in_one_pass_each(films: Dataset) -> None:
    lists = {"list_size": 8, "permutations": 2}
    model, found, seen = asked(films, "listwise", 3, listwise=lists)
    shown = [model._mode.lists.show(Events.of(seen), number) for number in range(2)]
    spell = load_tokenizer(model._base.folder)
    text = spell.decode(shown[0].stem.tolist()).splitlines()
    assert {line[:2] for line in text[-7:]} <= {f"{c}." for c in "ABCDEFGH"}
    for title, value in zip(TITLES, found, strict=False):
        item = films.catalog.vocabulary.index(title)
        want = []
        for one in shown:
            ids = np.concatenate([one.stem, model._mode.lists.branch(one, item)])
            with torch.inference_mode():
                last = model._reader.model(input_ids=torch.from_numpy(ids)[None]).logits[0, -1]
            chance = last.double()[one.labels].softmax(0).numpy()
            own = np.array([*(one.others == item), True])
            want.append(np.log(chance[own].sum() / chance[~own].sum()))
        assert value == pytest.approx(np.mean(want), abs=1e-3)


def test_cosines_of_real_vectors_are_those_of_one_pass_each(films: Dataset) -> None:
    model, found, seen = asked(films, "embedding", len(TITLES))
    header = model._prompts.header

    def vector(tokens: np.ndarray) -> np.ndarray:
        ids = torch.from_numpy(np.concatenate([header, tokens]))[None]
        with torch.inference_mode():
            states = model._reader.decoder(input_ids=ids).last_hidden_state[0]
        return states[len(header) :].mean(0).double().numpy()

    items = {t: films.catalog.vocabulary.index(t) for t in TITLES}
    vectors = {title: vector(model._prompts.items[item]) for title, item in items.items()}
    middle = np.mean(list(vectors.values()), axis=0)
    told = vector(model._prompts.told(seen)) - middle
    for title, value in zip(TITLES, found, strict=True):
        one = vectors[title] - middle
        want = one @ told / np.linalg.norm(one) / np.linalg.norm(told)
        assert value == pytest.approx(want, abs=1e-4)
    assert found.std() > 0.05
