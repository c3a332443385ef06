"""Encoders of a few thousand random weights with a word-level tokenizer, as the Hub holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from fusion import Dataset

WORDS = ["the", "story", "crime", "comedy", "space", "war", "romance", "music", ".", ","]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *WORDS, *map(str, range(40))]
    level = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    level.normalizer = normalizers.Lowercase()
    level.pre_tokenizer = pre_tokenizers.Whitespace()
    level.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=level,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def encoder(kind: str = "bert", *, seed: int = 0, **options: Any) -> Any:
    """An encoder with larger weights than usual, so that the states of different texts differ."""
    import torch
    import transformers as hf

    size = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    size |= {"intermediate_size": 64, "max_position_embeddings": 64, "initializer_range": 0.2}
    config = {"bert": hf.BertConfig, "roberta": hf.RobertaConfig, "convbert": hf.ConvBertConfig}
    config |= {"roformer": hf.RoFormerConfig}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "distilbert":
            return hf.DistilBertModel(hf.DistilBertConfig(vocab_size=64, dim=32, n_heads=2)).eval()
        # pad_token_id 0 gives RoBERTa positions from 1
        return hf.AutoModel.from_config(config[kind](**size, pad_token_id=0, **options)).eval()


def classifier(kind: str = "bert", *, seed: int = 0) -> Any:
    """The same with a head of one label that no training has seen."""
    import torch
    import transformers as hf

    config = encoder(kind).config
    config.num_labels = 1
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return hf.AutoModelForSequenceClassification.from_config(config).eval()


def save_model(folder: Path, **options: Any) -> Path:
    encoder(**options).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def pairs(n_users: int = 120) -> Dataset:
    """Who meets a crime story meets a war story next, and so on: nothing that words alone tell."""
    after = {"crime": "war", "comedy": "space", "romance": "music"}
    genres = [*after, *after.values()]
    titles = {f"i{n}": f"The {genres[n // 5]} story {n}" for n in range(30)}
    rows = []
    for user in range(n_users):
        first = user % 15
        second = 15 + first // 5 * 5 + user // 15 % 5
        rows += [(f"u{user}", f"i{first}", 1.0), (f"u{user}", f"i{second}", 2.0)]
    columns = zip(("user_id", "item_id", "timestamp"), zip(*rows, strict=True), strict=True)
    items = pa.table({"item_id": list(titles), "title": list(titles.values())})
    return Dataset.from_frames(pa.table({name: list(v) for name, v in columns}), items)
