from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bert_models import classifier, save_model, tokenizer

from fusion import Candidates, Dataset, Queries
from fusion.errors import ConfigError
from fusion.protocols import FitContext
from fusion.ragged import Ragged
from fusion.work import counting
from rankers.bert import Bert
from rankers.bert_cross import CrossNet, Pairs, check_cross_encoder, make_pairs, score_pairs
from rankers.bert_text import Texts

# item 0 has no text; item i has i tokens
ITEMS = Ragged.of([[10 + i + j for j in range(i)] for i in range(6)])
TEXTS = Texts(ITEMS, 2, 3, 0, 4, 12)


def net(kind: str = "bert") -> CrossNet:
    return CrossNet(classifier(kind), rating=False).eval().requires_grad_(False)


def case(histories: list[list[int]], items: list[list[int]]) -> tuple[Queries, Candidates]:
    rows = Ragged.of(items)
    return Queries.from_history(Ragged.of(histories)), Candidates.bare(rows.offsets, rows.values)


def test_pairs_written_out() -> None:
    shown = [np.array([11], np.int32), np.array([12, 13], np.int32)]
    pairs = make_pairs(TEXTS, shown, np.array([2, 1]))
    assert pairs.tokens.tolist() == [[2, 11, 3, 12, 13, 3], [2, 12, 13, 3, 11, 3]]
    assert pairs.types.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
    pairs = make_pairs(TEXTS, shown, np.array([1, 1]))
    assert pairs.tokens.tolist() == [[2, 11, 3, 11, 3, 0], [2, 12, 13, 3, 11, 3]]
    assert pairs.mask.tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    roberta = Texts(ITEMS, 0, 2, 1, 4, 12, middle=2)
    assert make_pairs(roberta, shown[:1], np.array([1])).tokens.tolist() == [[0, 11, 2, 2, 11, 2]]


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("batch_tokens", [1, 30, 1000])
def test_scores_equal_one_pair_at_a_time(kind: str, batch_tokens: int) -> None:
    model = net(kind)
    queries, candidates = case([[1, 2], [0], [3, 5]], [[1, 2, 0, 3, 5], [1, 2], [4]])
    scores = score_pairs(model, TEXTS, queries, candidates, batch_tokens=batch_tokens)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [2, 5, 6]
    owners = candidates.rows
    for row in (0, 1, 3, 4, 7):
        history = TEXTS.history(queries.history[owners[row]])
        item = TEXTS.candidate(int(candidates.items[row]))[1:]
        types = [0] * len(history) + [1] * len(item)
        arguments = {"token_type_ids": torch.tensor([types])} if model.types > 1 else {}
        logits = model.encoder(input_ids=torch.tensor([history + item]), **arguments).logits
        assert scores[row] == pytest.approx(float(logits), abs=1e-4)


def test_the_work_is_that_of_pairs_sorted_by_length() -> None:
    queries, candidates = case([[1, 2]], [[5, 1, 4, 2]])
    with counting() as work:
        score_pairs(net(), TEXTS, queries, candidates, batch_tokens=22)
    # history 3, specials 3: pairs of 11, 10, 8, 7 tokens; 11 * 2 <= 22, then 8 * 2
    matrices = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    pairs = 2 * 11 * 11 + 2 * 8 * 8
    assert work.counts == {
        "tokens": 2 * 11 + 2 * 8,
        "passes": 2,
        "flops": 2 * (22 + 16) * matrices + 2 * 4 * pairs * 32,
    }


def test_the_loss_and_the_places_of_the_logits() -> None:
    model = net()
    shown = [np.array([11], np.int32)] * 3
    pairs = make_pairs(TEXTS, shown, np.array([1, 2, 3]))
    labels = torch.tensor([[1.0, 0.0], [float("nan"), 0.0]])
    place = torch.tensor([0, 1, 3])
    out = model(pairs.tokens, pairs.mask, pairs.types, place, labels)
    alone = model.logits(pairs)
    torch.testing.assert_close(out["logits"].flatten()[place], alone)
    p = torch.sigmoid(alone)
    expected = -(p[0].log() + (1 - p[1]).log() + (1 - p[2]).log()) / 3
    torch.testing.assert_close(out["loss"], expected)


def test_a_low_precision_keeps_the_classifier_in_float32() -> None:
    model, exact = net(), net()
    model.to_precision(torch.bfloat16)
    pairs = make_pairs(TEXTS, [np.array([11, 12], np.int32)], np.array([3]))
    assert model.encoder.classifier.weight.dtype == torch.float32
    assert model.encoder.base_model.dtype == torch.bfloat16
    assert float(model.logits(pairs)) == pytest.approx(float(exact.logits(pairs)), abs=0.05)


def test_models_that_it_cannot_use() -> None:
    with pytest.raises(ConfigError, match="pairs of at most 64 tokens, got 65"):
        check_cross_encoder(classifier(), "bert", longest=65)
    three = classifier()
    three.config.num_labels = 3
    with pytest.raises(ConfigError, match=r"one label.* with 3 labels"):
        check_cross_encoder(three, "bert", longest=10)


def fitted(base: Path, data: Dataset) -> Bert:
    config = {"base_model": str(base), "mode": "cross", "dtype": "float32", "item_tokens": 8}
    config |= {"history_tokens": 40, "max_steps": 2, "batch_size": 4, "validation_users": 0}
    model = Bert({**config, "learning_rate": 1e-3})
    model.fit(data, FitContext(seed=3))
    return model


def test_the_saved_folder_is_a_cross_encoder(tiny: Dataset, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = fitted(save_model(tmp_path / "base"), tiny)
    folder = tmp_path / "saved"
    folder.mkdir()
    model.save(folder)
    queries = tiny.queries(np.arange(3))
    items = np.tile(np.arange(10, dtype=np.int32), 3)
    scores = model.score(queries, Candidates.bare(np.arange(4) * 10, items)).values
    words = tokenizer()
    texts = tiny.catalog.texts
    pairs = []
    for row, item in enumerate(items):
        shown = model._texts.shown(queries.history[row // 10])
        # one token a word: the text of the tokens is made of the same tokens
        pairs.append((" ".join(words.convert_ids_to_tokens(shown.tolist())), texts[item]))
    expected = CrossEncoder(str(folder / "cross_encoder"), device="cpu").predict(pairs)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_a_pretrained_reranker_keeps_its_head(tiny: Dataset, tmp_path: Path) -> None:
    base = classifier(seed=5)
    base.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    model = Bert(
        {"base_model": str(tmp_path), "mode": "cross", "max_steps": 0, "history_tokens": 30}
    )
    model.fit(tiny, FitContext())
    torch.testing.assert_close(model._net.encoder.classifier.weight, base.classifier.weight)
    torch.testing.assert_close(model._net.encoder.classifier.bias, base.classifier.bias)
    assert isinstance(make_pairs(TEXTS, [], np.empty(0, np.int64)), Pairs)


def test_a_classifier_that_is_drawn_follows_the_seed(tiny: Dataset, tmp_path: Path) -> None:
    base = save_model(tmp_path)
    heads = []
    for seed in (1, 1, 2):
        model = Bert(
            {"base_model": str(base), "mode": "cross", "max_steps": 0, "history_tokens": 30}
        )
        model.fit(tiny, FitContext(seed=seed))
        heads.append(model._net.encoder.classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
