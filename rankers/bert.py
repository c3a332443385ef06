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

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Dataset
from fusion.errors import DataError, explain
from fusion.protocols import ComponentConfig, FitContext, Ranker
from fusion.queries import Queries
from rankers.bert_config import Config
from rankers.bert_history import wording
from rankers.bert_text import Texts, load_tokens, save_tokens, tokenize, tokens_key

if TYPE_CHECKING:
    from rankers.bert_asking import Asker

__all__ = ["Bert", "Config"]

_RATED = ("rating", "multi_task")  # heads that learn from ratings


class Bert(Ranker):
    """Scores an item's text against the texts of the user's newest events.

    With ``head: ctr`` or ``multi_task`` a score is the logit of "met next rather than sampled";
    with ``head: rating`` it is the expected rating, in the data's unit; with ``pairwise`` or
    ``listwise`` it orders a user's items and has no unit. Items without text and users without an
    event that has text get NaN, `Missing.COLD`.

    Attributes:
        report: of the last training: ``steps`` taken, ``untrained`` and best ``validation`` value
            (squared error of standardised ratings for ``head: rating``, else NDCG@10), and after
            `fit` with pre-training ``pretraining_steps`` and ``pretraining_loss``.
    """

    Config: ClassVar[type[ComponentConfig]] = Config

    _net: Any = None  # a bert_model.Net in float32 on the CPU
    _asked: Asker | None = None  # the same net as it scores; made when asked
    _tokenizer: Any = None
    _texts: Texts
    _key: str  # of the catalogue in tokens
    _data: Dataset | None = None  # what int8 is calibrated on; None where there is no int8
    _vectors: Path | None = None  # the saved item vectors of the late mode
    _scale: tuple[float, float] = (0.0, 1.0)  # mean and spread of the ratings
    _pretraining: dict[str, float]
    report: dict[str, float]

    def needs(self) -> tuple[str, ...]:
        """The models that hard negatives are mined from."""
        hard = self.config.hard_negatives
        models: tuple[str, ...] = hard.models
        return models if hard.share > 0 else ()

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Fine-tune ``base_model`` on moments of the users in ``data``.

        Raises:
            DataError: no event, no item with text, or no rating for a head that learns ratings.
            ConfigError: ``base_model`` is not an encoder that can read packed sequences, or cannot
                be tuned or pre-trained as asked; a model for hard negatives is not there.
            MissingDataError, DependencyError: ``base_model`` is not on this machine.
        """
        self._check(data)
        self._net = self._asked = None
        self._new_encoder(context, data.catalog.texts)
        self._read(data)
        ratings = data.interactions.ratings
        if self.config.head in _RATED:
            spread = float(np.nanstd(ratings))
            # equal ratings everywhere: their mean is the whole answer
            self._scale = (float(np.nanmean(ratings)), spread if spread > 0 else 1.0)
        steps = self.config.max_steps
        if self.config.max_examples is not None:
            a_step = self.config.batch_size * self.config.optimization.accumulate
            steps = min(steps, -(-self.config.max_examples // a_step))
        self._train(data, context, steps, "fit")
        self.report |= self._pretraining
        if context.workdir is not None:
            from rankers.bert_loading import PRETRAINED

            for file in context.workdir.glob(f"{PRETRAINED}*"):
                file.unlink()

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Train ``refit_steps`` more steps on ``data``, from the fitted weights."""
        if self._net is None:
            self.fit(data, context)
            return
        self._check(data)
        self._read(data)
        self._train(data, context, self.config.refit_steps, "refit")

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """(N,) float32; what they mean, see the class."""
        if self._net is None:
            raise self.not_fitted()
        values = self._scorer().score(queries, candidates)
        mean, spread = self._scale if self.config.head == "rating" else (0.0, 1.0)
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
        own = self._net.own_state()  # of a cross-encoder only what a second task has
        if own:
            write_arrays(folder / "head.safetensors", own)
        save_tokens(folder / "tokens.safetensors", self._texts, self._key)
        store = self._scorer().store if self.config.mode == "late" else None
        if store is not None:
            store.copy(folder / "item_vectors.f16")
        write_json(folder / "bert.json", {"scale": list(self._scale), "report": self.report})

    def load(self, folder: Path, data: Dataset) -> None:
        """Read what `save` wrote; ``base_model`` need not be there any more."""
        import torch

        from rankers.bert_loading import load_network

        self._asked = None
        encoder, tokenizer = (folder / name for name in _folder(self.config.mode == "cross"))
        self._net, self._tokenizer = load_network(self.config, encoder, tokenizer, dropout=False)
        if (folder / "head.safetensors").is_file():
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
        if self.config.head in _RATED and not data.has_ratings:
            wanted = f"events with ratings for head: {self.config.head}"
            raise DataError(explain(who, wanted, "none", "choose head: ctr"))

    def _new_encoder(self, context: FitContext, catalogue: Sequence[str] = ()) -> None:
        from rankers.bert_loading import new_network

        self._net, self._tokenizer, found = new_network(self.config, context, catalogue)
        self._pretraining = found

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
            wording=wording(
                self._tokenizer,
                order=config.history_order,
                ratings=config.history_ratings,
                gaps=config.history_gaps,
                mean=float(np.nanmean(data.interactions.ratings)) if data.has_ratings else np.nan,
            ),
        )
        self._data = data if config.quantize == "int8" else None
        return stored is not None

    def _train(self, data: Dataset, context: FitContext, steps: int, phase: str) -> None:
        from rankers.bert_training import train

        self._asked = None
        self.report = train(
            self._net,
            self._texts,
            self._tokenizer,
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
