"""A BERT-type cross-encoder on history text and item text.

Cross-encoders read the query and the document together (Nogueira and Cho 2019, "Passage Re-ranking
with BERT", arXiv:1901.04085). Here the history is encoded once for all candidates of a user: one
sequence holds ``[CLS] history [SEP]`` and then ``[CLS] item text [SEP]`` for every candidate, under
a mask that lets a candidate look at the history and at itself, and the history at itself (see
`rankers.packing`). The network is in `rankers.bert_model`, its training in `rankers.bert_training`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Dataset
from fusion.errors import DataError, explain
from fusion.pretrained import resolve_base_model
from fusion.protocols import ComponentConfig, FitContext, Ranker
from fusion.queries import Queries
from rankers.bert_config import Config
from rankers.bert_text import Texts, tokenize

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
    _asked: Any = None  # the same net where and in what precision it scores; made when asked
    _tokenizer: Any = None
    _texts: Texts
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
        self._new_encoder()
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
        from rankers.bert_scoring import score_rows

        values = score_rows(
            self._scorer(),
            self._texts,
            queries,
            candidates,
            max_tokens=self.config.max_tokens,
            batch_tokens=self.config.batch_tokens,
        )
        mean, spread = self._scale
        return Scores.of(values * np.float32(spread) + np.float32(mean))

    def save(self, folder: Path) -> None:
        """Write ``encoder/``, ``tokenizer/`` (as Hugging Face does), the head and ``bert.json``."""
        if self._net is None:
            raise self.not_fitted()
        from rankers.device import quiet

        with quiet():
            self._net.encoder.save_pretrained(folder / "encoder")
            self._tokenizer.save_pretrained(folder / "tokenizer")
        head = self._net.head
        write_arrays(
            folder / "head.safetensors",
            {"weight": head.weight.detach().numpy(), "bias": head.bias.detach().numpy()},
        )
        write_json(folder / "bert.json", {"scale": list(self._scale), "report": self.report})

    def load(self, folder: Path, data: Dataset) -> None:
        """Read what `save` wrote; ``base_model`` need not be there any more."""
        import torch

        self._asked = None
        self._load_encoder(folder / "encoder", folder / "tokenizer", dropout=False)
        head = read_arrays(folder / "head.safetensors")
        with torch.no_grad():
            self._net.head.weight.copy_(torch.from_numpy(head["weight"]))
            self._net.head.bias.copy_(torch.from_numpy(head["bias"]))
        state = read_json(folder / "bert.json")
        self._scale, self.report = tuple(state["scale"]), state["report"]
        self._read(data)

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

    def _new_encoder(self) -> None:
        from rankers.bert_model import check_encoder

        folder = resolve_base_model(self.config.base_model).folder
        self._load_encoder(folder, folder, dropout=True)
        longest = 2 + max(self.config.history_tokens, self.config.item_tokens)
        check_encoder(self._net.encoder, self.config.base_model, longest=longest)

    def _load_encoder(self, folder: Path, tokenizer: Path, *, dropout: bool) -> None:
        import torch
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        from rankers.bert_model import Net
        from rankers.device import quiet

        settings: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
        if dropout:
            settings.hidden_dropout_prob = self.config.dropout
            # dropout inside attention would rule out the fused kernels of the CPU
            settings.attention_probs_dropout_prob = 0.0
        # making a network draws from the global generator, even where its weights are then read
        with quiet(), torch.random.fork_rng(devices=[]):
            encoder = AutoModel.from_pretrained(
                folder, config=settings, dtype=torch.float32, local_files_only=True
            )
            self._tokenizer = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
            self._net = Net(
                encoder,
                rating=self.config.head == "rating",
                history_bias=self.config.history_bias,
                dropout=self.config.dropout,
            )
        self._net.eval()
        self._net.requires_grad_(False)

    def _read(self, data: Dataset) -> None:
        self._texts = tokenize(
            self._tokenizer,
            data.catalog.texts,
            item_tokens=self.config.item_tokens,
            history_events=self.config.history_events,
            history_tokens=self.config.history_tokens,
        )

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

    def _scorer(self) -> Any:
        if self._asked is None:
            from rankers.device import best_device, working_dtype

            net = copy.deepcopy(self._net).to(best_device())
            net.encoder.to(working_dtype(self.config.dtype))
            self._asked = net.eval()
        return self._asked
