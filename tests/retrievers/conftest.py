"""Fixtures of the retrievers' tests."""

from __future__ import annotations

from pathlib import Path

import pytest

WORDS = (
    *("the", "story", "of", "and", "a", "crime", "comedy", "space", "war", "romance", "music"),
    *map(str, range(10)),
)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: a BERT of one layer and 16 dimensions with random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *WORDS]
    vocabulary += [f"##{digit}" for digit in range(10)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert = BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=48,
            )
        )
    bert.save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=48).save_pretrained(folder)
    out = tmp_path_factory.mktemp("encoder")
    words = Transformer(str(folder))
    SentenceTransformer(modules=[words, Pooling(16)], device="cpu").save_pretrained(
        str(out), create_model_card=False
    )
    return out
