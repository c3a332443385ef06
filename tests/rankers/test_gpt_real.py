"""The real SmolLM2 on real titles: what the tiny models cannot show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from fusion.work import counting
from rankers.device import working_dtype
from rankers.gpt_base import load_model, load_tokenizer, resolve
from rankers.gpt_cache import HistoryCache
from rankers.gpt_quantize import quantized
from rankers.gpt_reader import Reader
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
