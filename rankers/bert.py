"""A BERT-type ranker on history text and item text, in three modes.

- ``shared``: the history is encoded once for all candidates of a user; a candidate's tokens look
  at the history and at themselves, the history at itself (`rankers.bert_model`).
- ``cross``: the standard cross-encoder (Nogueira and Cho 2019, "Passage Re-ranking with BERT",
  arXiv:1901.04085), every candidate in one sequence with the history (`rankers.bert_cross`).
- ``late``: items are encoded ahead and meet the history at the end only (Khattab and Zaharia 2020,
  "ColBERT", arXiv:2004.12832; `rankers.bert_late`).

All are trained by the same recipe (`rankers.bert_training`) and asked through
`rankers.bert_asking.Asker`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Dataset
from fusion.errors import DataError, explain
from fusion.pretrained import resolve_base_model
from fusion.protocols import ComponentConfig, FitContext, Ranker
from fusion.queries import Queries
from rankers.bert_config import Config
from rankers.bert_text import Texts, load_tokens, save_tokens, tokenize, tokens_key

if TYPE_CHECKING:
    from rankers.bert_asking import Asker

__all__ = ["Bert", "Config"]


class Bert(Ranker):
    """Scores an item's text against the texts of the user's newest events.

    With ``head: ctr`` a score is the logit of "met next rather than sampled"; with ``head: rating``
    it is the expected rating, in the data's unit. Items without text and users without an event
    that has text get NaN, `Missing.COLD`.

    Attributes:
        report: of the last training: ``steps`` taken, ``untrained`` and best ``validation`` value
            (NDCG@10 for ctr, squared error of standardised ratings for rating).
    """

    Config: ClassVar[type[ComponentConfig]] = Config

    _net: Any = None  # a bert_model.Net in float32 on the CPU
    _asked: Asker | None = None  # the same net as it scores; made when asked
    _tokenizer: Any = None
    _texts: Texts
    _key: str  # of the catalogue in tokens
    _data: Dataset | None = None  # what int8 is calibrated on; None where there is no int8
    _vectors: Path | None = None  # the saved item vectors of the late mode
    _scale: tuple[float, float] = (0.0, 1.0)
    report: dict[str, float]

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Fine-tune ``base_model`` on moments of the users in ``data``.

        Raises:
            DataError: no event, no item with text, or no rating for ``head: rating``.
            ConfigError: ``base_model`` is not an encoder that can read packed sequences.
            MissingDataError, DependencyError: ``base_model`` is not on this machine.
        """
        self._check(data)
        self._net = self._asked = None
        self._new_encoder(context.seed)
        self._read(data)
        ratings = data.interactions.ratings
        if self.config.head == "rating":
            spread = float(np.nanstd(ratings))
            # equal ratings everywhere: their mean is the whole answer
            self._scale = (float(np.nanmean(ratings)), spread if spread > 0 else 1.0)
        steps = self.config.max_steps
        if self.config.max_examples is not None:
            steps = min(steps, -(-self.config.max_examples // self.config.batch_size))
        self._train(data, context, steps, "fit")

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Train ``refit_steps`` more steps on ``data``, from the fitted weights."""
        if self._net is None:
            self.fit(data, context)
            return
        self._check(data)
        self._read(data)
        self._train(data, context, self.config.refit_steps, "refit")

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """(N,) logits or expected ratings; see the class."""
        if self._net is None:
            raise self.not_fitted()
        values = self._scorer().score(queries, candidates)
        mean, spread = self._scale
        return Scores.of(values * np.float32(spread) + np.float32(mean))

    def save(self, folder: Path) -> None:
        """Write the network as Hugging Face does, the catalogue's tokens, and ``bert.json``.

        With ``mode: cross`` the network is ``cross_encoder/``, which sentence-transformers opens as
        a ``CrossEncoder``; its ``predict`` gives the scores (with ``head: rating`` standardised
        ones). Else it is ``encoder/``, ``tokenizer/`` and ``head.safetensors``; with ``mode: late``
        there is ``item_vectors.f16``, too.
        """
        if self._net is None:
            raise self.not_fitted()
        from rankers.device import quiet

        cross = self.config.mode == "cross"
        if cross:
            # without it a CrossEncoder would put a sigmoid over the logit
            identity = {"activation_fn": "torch.nn.modules.linear.Identity"}
            self._net.encoder.config.sentence_transformers = identity
        with quiet():
            self._net.encoder.save_pretrained(folder / _folder(cross)[0])
            self._tokenizer.save_pretrained(folder / _folder(cross)[1])
        if not cross:
            write_arrays(folder / "head.safetensors", self._net.own_state())
        save_tokens(folder / "tokens.safetensors", self._texts, self._key)
        store = self._scorer().store if self.config.mode == "late" else None
        if store is not None:
            store.copy(folder / "item_vectors.f16")
        write_json(folder / "bert.json", {"scale": list(self._scale), "report": self.report})

    def load(self, folder: Path, data: Dataset) -> None:
        """Read what `save` wrote; ``base_model`` need not be there any more."""
        import torch

        self._asked = None
        cross = self.config.mode == "cross"
        encoder, tokenizer = (folder / name for name in _folder(cross))
        self._load_encoder(encoder, tokenizer, dropout=False)
        if not cross:
            head = read_arrays(folder / "head.safetensors")
            own = {name: torch.from_numpy(array) for name, array in head.items()}
            self._net.load_state_dict(own, strict=False)
        state = read_json(folder / "bert.json")
        self._scale, self.report = tuple(state["scale"]), state["report"]
        cached = self._read(data, folder / "tokens.safetensors")
        # vectors of other texts are made anew
        self._vectors = folder / "item_vectors.f16" if cached else None

    def warm_up(self, *, progress: bool = False) -> None:
        """Make the copy that scores: in its precision, converted, with the items' vectors."""
        if self._net is None:
            raise self.not_fitted()
        self._scorer(progress=progress)

    def peak_rate(self) -> float | None:
        """Operations a second of a large matrix product in this model's precision."""
        from rankers.device import best_device, measured_peak, working_dtype

        on_cpu = self.config.backend == "openvino"
        device = "cpu" if on_cpu else best_device().type
        dtype = str(working_dtype(self.config.dtype, device)).removeprefix("torch.")
        return measured_peak(device, dtype)

    def _check(self, data: Dataset) -> None:
        who = f"bert {self.name!r}"
        data.require_events(who)
        if not any(data.catalog.texts):
            raise DataError(
                explain(
                    who,
                    "items with text",
                    f"none in {data.n_items}",
                    "give the items a title or a text, or leave this ranker out",
                )
            )
        if self.config.head == "rating" and not data.has_ratings:
            raise DataError(
                explain(who, "events with ratings for head: rating", "none", "choose head: ctr")
            )

    def _new_encoder(self, seed: int = 0) -> None:
        folder = resolve_base_model(self.config.base_model).folder
        self._load_encoder(folder, folder, dropout=True, seed=seed)
        history, item = self.config.history_tokens, self.config.item_tokens
        if self.config.mode == "cross":
            from rankers.bert_cross import check_cross_encoder

            # [CLS] history [SEP] item [SEP]; RoBERTa has one [SEP] more
            longest = history + item + 4
            check_cross_encoder(self._net.encoder, self.config.base_model, longest=longest)
            return
        from rankers.bert_model import check_encoder

        check_encoder(self._net.encoder, self.config.base_model, longest=2 + max(history, item))

    def _load_encoder(self, folder: Path, tokenizer: Path, *, dropout: bool, seed: int = 0) -> None:
        import torch
        from transformers import (
            AutoConfig,
            AutoModel,
            AutoModelForSequenceClassification,
            AutoTokenizer,
        )

        from rankers.bert_asking import make_net
        from rankers.bert_layers import keep_layers
        from rankers.device import quiet

        settings: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
        if dropout:
            settings.hidden_dropout_prob = self.config.dropout
            # dropout inside attention would rule out the fused kernels of the CPU
            settings.attention_probs_dropout_prob = 0.0
        cross = self.config.mode == "cross"
        kind = AutoModelForSequenceClassification if cross else AutoModel
        if cross and settings.num_labels != 1 and not _has_labels(settings):
            settings.num_labels = 1
        # making a network draws from the global generator, even where its weights are then read
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # a classifier that the base model lacks is drawn
            encoder = kind.from_pretrained(
                folder, config=settings, dtype=torch.float32, local_files_only=True
            )
            keep_layers(encoder.base_model, self.config.layers, self.config.base_model)
            self._tokenizer = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
            self._net = make_net(encoder, self.config)
        if cross and "token_type_ids" not in self._tokenizer.model_input_names:
            self._net.types = 0  # whoever else tokenises for this model gives it none
        self._net.eval()
        self._net.requires_grad_(False)

    def _read(self, data: Dataset, cache: Path | None = None) -> bool:
        """Tokenise the catalogue; whether ``cache`` spared that."""
        texts, config = data.catalog.texts, self.config
        self._vectors = None
        self._key = tokens_key(self._tokenizer, texts, config.item_tokens)
        stored = None if cache is None else load_tokens(cache, self._key)
        self._texts = tokenize(
            self._tokenizer,
            texts,
            item_tokens=config.item_tokens,
            history_events=config.history_events,
            history_tokens=config.history_tokens,
            items=stored,
        )
        self._data = data if config.quantize == "int8" else None
        return stored is not None

    def _train(self, data: Dataset, context: FitContext, steps: int, phase: str) -> None:
        from rankers.bert_training import train

        self._asked = None
        self.report = train(
            self._net,
            self._texts,
            data,
            self.config,
            context,
            steps=steps,
            phase=phase,
            scale=self._scale,
        )
        if self.config.mode == "late":
            self._scorer(progress=context.progress)  # the items are encoded now, not on request

    def _scorer(self, *, progress: bool = False) -> Asker:
        if self._asked is None:
            from rankers.bert_asking import Asker

            self._asked = Asker(
                self._net,
                self._texts,
                self.config,
                self._data,
                vectors=self._vectors,
                progress=progress,
            )
        return self._asked


def _folder(cross: bool) -> tuple[str, str]:
    """Where the network and the tokenizer are saved."""
    return ("cross_encoder", "cross_encoder") if cross else ("encoder", "tokenizer")


def _has_labels(settings: Any) -> bool:
    """Whether a pretrained model's configuration is that of a classifier."""
    return any("ForSequenceClassification" in kind for kind in settings.architectures or ())
