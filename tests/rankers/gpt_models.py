"""Causal LMs of a few thousand random weights, with a real byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CORPUS = [f"The {g} story {i}\n" for g in ("crime", "comedy", "space", "war") for i in range(30)]
WORDS = ["Chosen one after another:\n", "Next choice: x? Answer: yes no", " yes", " no"] * 20


def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        CORPUS + WORDS,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")


def config(kind: str) -> Any:
    import transformers as hf

    size = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    layers |= {"intermediate_size": 64}
    if kind == "llama":
        return hf.LlamaConfig(**size, **layers, num_key_value_heads=2, max_position_embeddings=512)
    if kind == "gpt2":
        return hf.GPT2Config(**size, n_embd=32, n_layer=2, n_head=4, n_positions=512)
    if kind == "granite":  # divides its logits: the head alone does not give them
        return hf.GraniteConfig(
            **size, **layers, num_key_value_heads=2, max_position_embeddings=512, logits_scaling=3.0
        )
    if kind == "bloom":  # positions are a bias on the distance in the row: cannot be packed
        return hf.BloomConfig(**size, hidden_size=32, n_layer=2, n_head=4)
    raise ValueError(kind)


def save_model(folder: Path, kind: str = "llama", *, scale: float = 3.0, seed: int = 0) -> Path:
    """A model folder as the Hub would hold it; larger weights than usual, so that scores differ."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config(kind))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim == 2 and "norm" not in name:
                    weight.mul_(scale)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
