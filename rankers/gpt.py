"""`Gpt`: a causal language model that says how well an item's text follows a history.

Scores are read from logits, never parsed from generated text, in one of two ways.

``likelihood``: the mean log-likelihood a token of the item's text after the history, less its mean
log-likelihood without one, ``log p(text | history) - log p(text)``: what the history changes.
Without the second term frequent wordings win; Holtzman et al. 2021, "Surface Form Competition"
(domain conditional PMI; here the domain is the prompt's header), https://arxiv.org/abs/2104.08315.

``yes_no``: logit of "yes" less logit of "no" after a question about the item.
"""

from __future__ import annotations

import copy
import itertools
import logging
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Dataset
from fusion.errors import ArtifactError, ConfigError, explain
from fusion.progress import track
from fusion.protocols import FitContext, Ranker
from fusion.queries import Queries
from fusion.work import timed
from rankers.device import measured_peak, quiet, working_dtype
from rankers.gpt_base import Base, load_model, load_tokenizer, resolve
from rankers.gpt_cache import HistoryCache
from rankers.gpt_config import GptConfig
from rankers.gpt_examples import Validation, examples, hold_out, ndcg
from rankers.gpt_prompt import Prompts
from rankers.gpt_quantize import quantized
from rankers.gpt_reader import Reader
from rankers.gpt_scoring import likelihoods, yes_no
from rankers.gpt_training import adapter_of, merged, train, with_lora
from rankers.gpt_tree import sorted_by_tokens

__all__ = ["Gpt"]

log = logging.getLogger(__name__)
#: items that `warm_up` reads between two movements of its bar
_WARM_UP = 256
#: what a base model's folder is made of; nothing that would have to be unpickled
_BASE_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


class Gpt(Ranker):
    """A causal LM as a ranker; all candidates of a user share one pass over the history.

    The history's keys and values are kept for the user's next request, within ``cache_mb``. One
    thread at a time may ask.

    The model reads the ``prompt.history`` newest events that have a text. A candidate without text,
    and every candidate of a query without such an event, is cold.
    """

    Config = GptConfig

    _base: Base | None = None
    _prompts: Prompts
    _reader: Reader | None = None  # there is one once the model may be asked
    _trained: Any = None  # tune: full: the weights before they are quantised
    _adapter: dict[str, npt.NDArray[Any]] | None = None
    #: (I,) float32 mean log-likelihood a token without history; NaN = not computed yet
    _unconditional: npt.NDArray[np.float32]
    _readable: npt.NDArray[np.bool_]  # (I,): which items have a text

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Fine-tune on the events of ``data``; see `rankers.gpt_examples` for what is held out.

        Raises:
            DataError: no event.
            ConfigError: a model that cannot be used, or a prompt longer than its context.
        """
        data.require_events(repr(self))
        self._reader = self._adapter = self._trained = None
        self._base = resolve(self.config.base_model, progress=context.progress)
        self._learn(data, context, self.config.training.max_tokens, None)

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Go on from the fitted weights for ``training.refit_tokens`` tokens."""
        if self._reader is None:
            self.fit(data, context)
            return
        data.require_events(repr(self))
        self._reader.cache.clear()  # its weights are about to change
        start = self._trained if self.config.tune == "full" else None
        self._learn(data, context, self.config.training.refit_tokens, start)

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """As `Model.score`; in bfloat16 a score moves by some 0.01 with its neighbours' number."""
        if self._base is None or self._reader is None:
            raise self.not_fitted()
        values = np.full(len(candidates), np.nan, np.float32)
        known = self._readable[candidates.items]
        histories, rows = [], []
        for q, (start, stop) in enumerate(itertools.pairwise(candidates.offsets.tolist())):
            history = queries.history[q]
            history = history[self._readable[history]]
            asked = start + np.flatnonzero(known[start:stop])
            if len(history) and len(asked):
                histories.append(history)
                rows.append(asked)
        if rows:
            items = [candidates.items[asked] for asked in rows]
            scores = self._scores(self._reader, histories, items, self._unconditional)
            values[np.concatenate(rows)] = np.concatenate(scores)
        return Scores.of(values)

    def save(self, folder: Path) -> None:
        """The adapter and the base model's name and hash; the weights too where they are needed."""
        if self._base is None or self._reader is None:
            raise self.not_fitted()
        own = self.config.tune == "full" or self.config.save_base
        write_json(
            folder / "gpt.json",
            {"base": self._base.name, "sha256": self._base.sha256, "own_weights": own},
        )
        write_arrays(folder / "unconditional.safetensors", {"mean": self._unconditional})
        if self._adapter is not None:
            write_arrays(folder / "adapter.safetensors", self._adapter)
        if own:
            _copy_base(self._base.folder, folder / "base", weights=self.config.tune != "full")
        if self.config.tune == "full":
            with quiet():
                self._trained.save_pretrained(folder / "base")

    def load(self, folder: Path, data: Dataset) -> None:
        """As `Model.load`.

        Raises:
            ArtifactError: the base model found here is not the one that the adapter was made for.
        """
        state = read_json(folder / "gpt.json")
        if state["own_weights"]:
            self._base = Base(state["base"], folder / "base", state["sha256"])
        else:
            self._base = resolve(state["base"])
            if self._base.sha256 != state["sha256"]:
                raise ArtifactError(
                    explain(
                        repr(self),
                        f"base model {state['base']!r} with SHA-256 {state['sha256'][:12]}...",
                        f"{self._base.sha256[:12]}...",
                        "install the version it was fitted with, or save with save_base: true",
                    )
                )
        adapter = folder / "adapter.safetensors"
        self._adapter = read_arrays(adapter) if adapter.is_file() else None
        self._read_catalog(data)
        self._finish(None)
        self._unconditional = read_arrays(folder / "unconditional.safetensors")["mean"]

    def warm_up(self, *, progress: bool = False) -> None:
        """Ask what every item's text is worth without a history, which requests share."""
        if self._reader is None:
            raise self.not_fitted()
        if self.config.score == "likelihood" and self.config.unconditional > 0:
            items = np.flatnonzero(self._readable & np.isnan(self._unconditional))
            # neighbours in the order of their tokens share the longest prefixes
            items = items[sorted_by_tokens([self._prompts.items[i] for i in items.tolist()])]
            parts = np.array_split(items, -(-len(items) // _WARM_UP)) if len(items) else []
            for part in track(parts, f"{self.name}: items", total=len(parts), show=progress):
                self._read_alone(self._reader, part, self._unconditional)

    def peak_rate(self) -> float:
        """As `Model.peak_rate`, of matrix products in the precision of the activations."""
        dtype = working_dtype(self.config.dtype, self._device)
        return measured_peak(self._device, str(dtype).removeprefix("torch."))

    # -- the parts ------------------------------------------------------------------------------

    @property
    def _device(self) -> str:
        import torch

        if self.config.device != "auto":
            return str(self.config.device)
        return "cuda" if torch.cuda.is_available() else "cpu"

    def _read_catalog(self, data: Dataset) -> None:
        assert self._base is not None
        tokenizer = load_tokenizer(self._base.folder)
        self._prompts = Prompts.of(
            data.catalog, self.config.item_text, self.config.prompt, tokenizer
        )
        self._readable = self._prompts.has_text

    def _learn(self, data: Dataset, context: FitContext, tokens: int, start: Any) -> None:
        """Train for ``tokens`` tokens, from ``start`` or the base model with its adapter."""
        import torch

        assert self._base is not None
        self._read_catalog(data)
        tune, settings = self.config.tune, self.config.training
        model = start
        if tune != "none" and tokens > 0:
            rng = context.rng(self.name)
            rest, held = hold_out(
                data,
                self._prompts,
                settings.validation_users,
                settings.validation_candidates,
                rng,
            )
            rows = examples(
                rest,
                self._prompts,
                self.config.score,
                max_tokens=tokens,
                negatives=settings.negatives,
                rng=rng,
            )
            seed = int(rng.integers(2**31))
            if rows:
                # LoRA's own weights are float32 whatever the frozen ones are
                dtype = working_dtype(self.config.dtype, self._device)
                frozen = dtype if tune == "lora" else torch.float32
                workdir = self._workdir(data, context, tokens, start)
                causal = load_model(self._base.folder, frozen) if start is None else start
                causal = causal.to(self._device, frozen)
                self._check_context(causal)  # before the minutes of training
                reader = Reader(causal)
                model = causal
                if tune == "lora":
                    model = with_lora(causal, self.config.lora, self._adapter, seed=seed)
                report = train(
                    model,
                    reader,
                    rows,
                    settings,
                    tokens=tokens,
                    answers=None if self.config.score == "likelihood" else self._prompts.answers,
                    evaluate=self._validator(reader, held) if len(held) else None,
                    half=tune == "full" and dtype == torch.bfloat16,
                    seed=seed,
                    workdir=workdir,
                    progress=context.progress,
                )
                log.info("%r: %s", self, report)
                if tune == "lora":
                    self._adapter, model = adapter_of(model), None
        self._finish(model)

    def _validator(self, reader: Reader, held: Validation) -> Callable[[], float]:
        """NDCG@10 of the model as it is at that moment, on the inner validation set."""

        def validate() -> float:
            unconditional = np.full(len(self._prompts.items), np.nan, np.float32)
            scores = self._scores(reader, held.histories, list(held.candidates), unconditional)
            return ndcg(np.stack(scores))

        return validate

    def _workdir(
        self, data: Dataset, context: FitContext, tokens: int, start: Any = None
    ) -> Path | None:
        """A folder whose name says everything that the run depends on."""
        if context.workdir is None or self._base is None:
            return None
        parts = [self.config.model_dump_json(), data.fingerprint, self._base.sha256]
        parts += [str(context.seed), str(tokens), self.name]
        weights = [self._adapter[name] for name in sorted(self._adapter)] if self._adapter else []
        if start is not None:
            weights += [one.detach().float().cpu().numpy() for one in start.parameters()]
        parts += [sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in weights]
        return context.workdir / f"gpt-{sha256('|'.join(parts).encode()).hexdigest()[:16]}"

    def _finish(self, model: Any) -> None:
        """Put ``model``, or the base with its adapter merged in, in place to score.

        `fit` and `load` both come through here, so both score with the same bits.
        """
        import torch

        assert self._base is not None
        dtype = working_dtype(self.config.dtype, self._device)
        if model is None:
            exact = torch.float32 if self._adapter is not None else dtype
            model = load_model(self._base.folder, exact)
            if self._adapter is not None:
                model = merged(model, self.config.lora, self._adapter)
        model = model.to(self._device, dtype).eval()
        self._check_context(model)
        self._trained = model if self.config.tune == "full" else None
        if self.config.weights != "none":
            copied = model if self._trained is None else copy.deepcopy(model)
            model = quantized(copied, self.config.weights)
        self._reader = Reader(model, HistoryCache(self.config.cache_mb * 2**20))
        self._unconditional = np.full(len(self._prompts.items), np.nan, np.float32)

    def _check_context(self, model: Any) -> None:
        names = ("max_position_embeddings", "sliding_window")  # attention is to the whole prompt
        limits = [getattr(model.config, name, None) for name in names]
        context = min((limit for limit in limits if limit is not None), default=None)
        if context is not None and self._prompts.longest > context:
            raise ConfigError(
                explain(
                    repr(self),
                    f"a prompt of at most {context} tokens (the model's context)",
                    f"up to {self._prompts.longest}",
                    "lower prompt.history or prompt.max_item_tokens",
                )
            )

    def _scores(
        self,
        reader: Reader,
        histories: Any,
        items: list[npt.NDArray[np.int32]],
        unconditional: npt.NDArray[np.float32],
    ) -> list[npt.NDArray[np.float32]]:
        """Scores of ``items`` (lists of item_index) by history; fills ``unconditional``."""
        prompts, longest, budget = self._prompts, self.config.longest_row, self.config.batch_tokens
        with timed("prepare"):
            sequences = [prompts.sequence(history[-prompts.history :]) for history in histories]
        if self.config.score == "yes_no":
            asked = [[prompts.questions[i] for i in row.tolist()] for row in items]
            return yes_no(reader, sequences, asked, prompts.answers, longest=longest, budget=budget)
        texts = [[prompts.items[i] for i in row.tolist()] for row in items]
        found = likelihoods(reader, sequences, texts, longest=longest, budget=budget)
        weight = np.float32(self.config.unconditional)
        if weight == 0:
            return found
        wanted = np.unique(np.concatenate(items))
        wanted = wanted[np.isnan(unconditional[wanted])]
        if len(wanted):
            self._read_alone(reader, wanted, unconditional)
        return [one - weight * unconditional[row] for one, row in zip(found, items, strict=True)]

    def _read_alone(
        self,
        reader: Reader,
        items: npt.NDArray[np.integer[Any]],
        unconditional: npt.NDArray[np.float32],
    ) -> None:
        """Fill ``unconditional`` for ``items`` (not empty)."""
        texts = [[self._prompts.items[i] for i in items.tolist()]]
        longest, budget = self.config.longest_row, self.config.batch_tokens
        (unconditional[items],) = likelihoods(
            reader, [self._prompts.header], texts, longest=longest, budget=budget
        )


def _copy_base(source: Path, target: Path, *, weights: bool) -> None:
    target.mkdir()
    for pattern in _BASE_FILES:
        for path in sorted(source.glob(pattern)):
            if weights or ("safetensors" not in path.name and path.name != "config.json"):
                shutil.copyfile(path, target / path.name)
