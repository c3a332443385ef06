"""The BERT ranker's network from a folder: a new one to be trained, or one that was saved."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from finetuning.pretraining import adapt_masked
from fusion.pretrained import resolve_base_model
from fusion.protocols import FitContext
from rankers.bert_asking import make_net
from rankers.bert_check import check_encoder
from rankers.bert_config import Config
from rankers.bert_cross import check_cross_encoder
from rankers.bert_layers import keep_layers
from rankers.device import quiet, working_dtype

__all__ = ["PRETRAINED", "load_network", "new_network"]

#: how the files begin that hold a pre-trained encoder
PRETRAINED = "bert-pretrained-"

log = logging.getLogger(__name__)

Change = Callable[[Any, Any], None]


def new_network(
    config: Config, context: FitContext, catalogue: Sequence[str]
) -> tuple[Any, Any, dict[str, float]]:
    """A network from ``config.base_model``, its tokenizer, and what its pre-training said.

    With ``config.pretraining`` the encoder first learns to fill in masked words of the catalogue.
    Sentence encoders such as MiniLM are published without the head that guesses words: a new one
    is drawn then, tied to the word embeddings, and thrown away afterwards.

    Args:
        config: base model, mode, layers, pre-training.
        context: seed, and a folder for an interrupted pre-training.
        catalogue: the items' texts.

    Raises:
        ConfigError: the base model cannot read what this mode reads, or cannot be pre-trained.
        MissingDataError, DependencyError: it is not on this machine.
    """
    folder = resolve_base_model(config.base_model).folder
    said: dict[str, float] = {}

    def pretrain(encoder: Any, tokenizer: Any) -> None:
        file = _pretrained(config, context, catalogue)
        if file is not None and file.is_file():
            log.info("bert: found pre-trained in %s", file)
            encoder.base_model.load_state_dict(load_file(file))
            return
        kinds = getattr(encoder.config, "architectures", None) or ()
        if not any("MaskedLM" in kind for kind in kinds):
            log.info("bert: %s has no masked-word head; a new one is drawn", config.base_model)
        found = adapt_masked(
            encoder,
            tokenizer,
            catalogue,
            config.pretraining,
            seed=context.seed,
            bf16=working_dtype(config.dtype) == torch.bfloat16,
            workdir=context.workdir,
            progress=context.progress,
        )
        said.update({f"pretraining_{name}": value for name, value in found.items()})
        if file is not None:  # for a fine-tuning that is interrupted
            file.parent.mkdir(parents=True, exist_ok=True)
            weights = {k: v.cpu().contiguous() for k, v in encoder.base_model.state_dict().items()}
            save_file(weights, file.with_suffix(".tmp"))
            file.with_suffix(".tmp").replace(file)

    net, tokenizer = load_network(
        config,
        folder,
        folder,
        dropout=True,
        seed=context.seed,
        change=pretrain if config.pretraining.steps else None,
    )
    history, item = config.history_tokens, config.item_tokens
    if config.mode == "cross":
        # [CLS] history [SEP] item [SEP]; RoBERTa has one [SEP] more
        check_cross_encoder(net.encoder, config.base_model, longest=history + item + 4)
    else:
        check_encoder(net.encoder, config.base_model, longest=2 + max(history, item))
    return net, tokenizer, said


def _pretrained(config: Config, context: FitContext, catalogue: Sequence[str]) -> Path | None:
    """Where the pre-trained encoder is kept until the training after it has ended."""
    if context.workdir is None:
        return None
    told = [config.base_model, config.pretraining.model_dump(), context.seed, list(catalogue)]
    digest = sha256(json.dumps(told).encode()).hexdigest()[:16]
    return context.workdir / f"{PRETRAINED}{digest}.safetensors"


def load_network(
    config: Config,
    encoder_folder: Path,
    tokenizer_folder: Path,
    *,
    dropout: bool,
    seed: int = 0,
    change: Change | None = None,
) -> tuple[Any, Any]:
    """The network, float32 on the CPU and at rest, and the tokenizer.

    Args:
        config: mode, layers, dropout.
        encoder_folder: what `save_pretrained` of the encoder wrote.
        tokenizer_folder: likewise of the tokenizer.
        dropout: whether ``config.dropout`` replaces that of the folder.
        seed: of a classifier that the folder lacks.
        change: gets the whole encoder and the tokenizer, before layers are left out.
    """
    settings: Any = AutoConfig.from_pretrained(encoder_folder, local_files_only=True)
    if dropout:
        settings.hidden_dropout_prob = config.dropout
        # dropout inside attention would rule out the fused kernels of the CPU
        settings.attention_probs_dropout_prob = 0.0
    cross = config.mode == "cross"
    kind = AutoModelForSequenceClassification if cross else AutoModel
    if cross and settings.num_labels != 1 and not _has_labels(settings):
        settings.num_labels = 1
    # making a network draws from the global generator, even where its weights are then read
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # a classifier that the base model lacks is drawn
        encoder = kind.from_pretrained(
            encoder_folder, config=settings, dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
        if change is not None:
            change(encoder, tokenizer)
            encoder.to("cpu")
        keep_layers(encoder.base_model, config.layers, config.base_model)
        net = make_net(encoder, config)
    if cross and "token_type_ids" not in tokenizer.model_input_names:
        net.types = 0  # whoever else tokenises for this model gives it none
    net.eval()
    net.requires_grad_(False)
    return net, tokenizer


def _has_labels(settings: Any) -> bool:
    """Whether a pretrained model's configuration is that of a classifier."""
    return any("ForSequenceClassification" in kind for kind in settings.architectures or ())
