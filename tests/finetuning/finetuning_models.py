"""Random models small enough to be trained in a test, and what to feed them."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

VOCABULARY = 64
_SIZE = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
_LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_LAYERS |= {"intermediate_size": 64, "initializer_range": 0.2, "max_position_embeddings": 64}


def made(kind: Any, config: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(config).eval()


def bert(seed: int = 0) -> Any:
    return made(hf.BertModel, hf.BertConfig(**_SIZE, **_LAYERS), seed)


def classifier(seed: int = 0, labels: int = 1) -> Any:
    config = hf.BertConfig(**_SIZE, **_LAYERS, num_labels=labels)
    return made(hf.BertForSequenceClassification, config, seed)


def distilbert(seed: int = 0) -> Any:
    config = hf.DistilBertConfig(
        **_SIZE, dim=32, n_heads=4, n_layers=2, hidden_dim=64, initializer_range=0.2
    )
    return made(hf.DistilBertModel, config, seed)


def convbert(seed: int = 0) -> Any:
    return made(hf.ConvBertModel, hf.ConvBertConfig(**_SIZE, **_LAYERS), seed)


def gpt2(seed: int = 0) -> Any:
    config = hf.GPT2Config(
        **_SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.2
    )
    return made(hf.GPT2LMHeadModel, config, seed)


def llama(seed: int = 0) -> Any:
    config = hf.LlamaConfig(**_SIZE, **_LAYERS, num_key_value_heads=2)
    return made(hf.LlamaForCausalLM, config, seed)


def ids() -> torch.Tensor:
    """(2, 9) int64 tokens without padding."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(4, VOCABULARY, (2, 9), generator=generator)


def tokenizer() -> Any:
    """A token a word: four special ones, then `WORDS`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = {word: n for n, word in enumerate([*special, *WORDS])}
    level = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    level.normalizer = normalizers.Lowercase()
    level.pre_tokenizer = pre_tokenizers.Whitespace()
    level.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=level,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[CLS]",
        eos_token="[SEP]",
    )


WORDS = ["the", "story", "crime", "comedy", "space", "war", "love", "music", *map(str, range(40))]
