"""`Gpt`: a causal language model that says how well an item's text follows a history.

Scores are read from logits or hidden states, never parsed from generated text, in one of four ways.

``likelihood``: the mean log-likelihood a token of the item's text after the history, less its mean
log-likelihood without one, ``log p(text | history) - log p(text)``: what the history changes.
Without the second term frequent wordings win; Holtzman et al. 2021, "Surface Form Competition"
(domain conditional PMI; here the domain is the prompt's header), https://arxiv.org/abs/2104.08315.

``yes_no``: logit of "yes" less logit of "no" after a question about the item.

``listwise``: log-odds of the item's label in a list of items; see `rankers.gpt_lists`.

``embedding``: cosine of the history's and the item's vectors; see `rankers.gpt_embedding`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fusion.artifacts import read_arrays, read_json, write_arrays, write_json
from fusion.candidates import Candidates, Scores
from fusion.data.dataset import Dataset
from fusion.errors import ArtifactError, explain
from fusion.progress import track
from fusion.protocols import FitContext, Ranker
from fusion.queries import Queries
from rankers.device import measured_peak, working_dtype
from rankers.gpt_base import Base, load_model, load_tokenizer, resolve, save_base, vocabulary
from rankers.gpt_cache import HistoryCache
from rankers.gpt_config import GptConfig
from rankers.gpt_examples import Validation, hold_out, ndcg
from rankers.gpt_learning import lesson, objective_of, pretrained, run_name, taught
from rankers.gpt_modes import Mode, mode_of
from rankers.gpt_prompt import Prompts
from rankers.gpt_quantize import quantized
from rankers.gpt_reader import Reader
from rankers.gpt_rendering import Events
from rankers.gpt_tree import sorted_by_tokens
from rankers.gpt_tuning import begin, changes_of, needs_float32, soft_tokens, with_changes

__all__ = ["Gpt"]

#: items that `warm_up` reads between two movements of its bar
_WARM_UP = 256


class Gpt(Ranker):
    """A causal LM as a ranker; all candidates of a user share one pass over the history.

    The history's keys and values are kept for the user's next request, within ``cache_mb``. One
    thread at a time may ask.

    The model reads the ``prompt.history`` newest events that have a text. A candidate without text,
    and every candidate of a query without such an event, is cold.
    """

    Config = GptConfig

    _base: Base | None = None
    _mode: Mode
    _reader: Reader | None = None  # there is one once the model may be asked
    _own: Any = None  # weights that the base model's name does not give, before they are quantised
    _adapter: dict[str, npt.NDArray[Any]] | None = None  # see `rankers.gpt_tuning.changes_of`
    _memory: npt.NDArray[np.float32]  # what `Mode` keeps of the catalogue; NaN = not computed yet

    def needs(self) -> tuple[str, ...]:
        """The retrievers that hard negatives come from."""
        hard = self.config.hard_negatives
        return tuple(hard.models) if hard.share > 0 else ()

    def fit(self, data: Dataset, context: FitContext) -> None:
        """Fine-tune on the events of ``data``; see `rankers.gpt_examples` for what is held out.

        Raises:
            DataError: no event, or no rating where ratings are to be learnt.
            ConfigError: a model that cannot be used, or a prompt longer than its context.
        """
        data.require_events(repr(self))
        self._reader = self._adapter = self._own = None
        self._base = resolve(self.config.base_model, progress=context.progress)
        if self.config.pretraining.steps > 0:
            seed = int(context.rng(f"{self.name}: pretraining").integers(2**31))
            self._own = pretrained(self.config, data, self._base, context, seed, self._device)
        self._learn(data, context, self.config.training.max_tokens)

    def refit(self, data: Dataset, context: FitContext) -> None:
        """Go on from the fitted weights for ``training.refit_tokens`` tokens."""
        if self._reader is None:
            self.fit(data, context)
            return
        data.require_events(repr(self))
        self._reader.cache.clear()  # its weights are about to change
        self._learn(data, context, self.config.training.refit_tokens)

    def score(self, queries: Queries, candidates: Candidates) -> Scores:
        """As `Model.score`; in bfloat16 a score moves by some 0.01 with its neighbours' number."""
        if self._base is None or self._reader is None:
            raise self.not_fitted()
        values = np.full(len(candidates), np.nan, np.float32)
        readable = self._readable
        known = readable[candidates.items]
        histories, rows = [], []
        starts = queries.history.offsets.tolist()
        for q, (start, stop) in enumerate(itertools.pairwise(candidates.offsets.tolist())):
            here = slice(starts[q], starts[q + 1])
            events = Events(
                queries.history.values[here], queries.ratings[here], queries.times[here]
            )
            events = events.where(readable[events.items])
            asked = start + np.flatnonzero(known[start:stop])
            if len(events) and len(asked):
                histories.append(events)
                rows.append(asked)
        if rows:
            items = [candidates.items[asked] for asked in rows]
            scores = self._mode.scores(self._reader, histories, items, self._memory)
            values[np.concatenate(rows)] = np.concatenate(scores)
        return Scores.of(values)

    def save(self, folder: Path) -> None:
        """What was learnt and the base model's name and hash; all weights where they are needed."""
        if self._base is None or self._reader is None:
            raise self.not_fitted()
        config = self.config
        own = config.tune.kind == "full" or config.pretraining.steps > 0 or config.save_base
        write_json(
            folder / "gpt.json",
            {"base": self._base.name, "sha256": self._base.sha256, "own_weights": own},
        )
        write_arrays(folder / "unconditional.safetensors", {self._mode.key: self._memory})
        if self._adapter is not None:
            write_arrays(folder / "adapter.safetensors", self._adapter)
        if own:
            save_base(self._base.folder, folder / "base", self._own)

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
        self._own = None  # they are the base model's, where there are any
        self._read_catalog(data)
        self._finish(None)
        self._memory = read_arrays(folder / "unconditional.safetensors")[self._mode.key]

    def warm_up(self, *, progress: bool = False) -> None:
        """Read of every item what requests share: its likelihood alone, or its vector."""
        if self._reader is None:
            raise self.not_fitted()
        items = self._mode.missing(self._memory)
        # neighbours in the order of their tokens share the longest prefixes
        items = items[sorted_by_tokens([self._prompts.items[i] for i in items.tolist()])]
        parts = np.array_split(items, -(-len(items) // _WARM_UP)) if len(items) else []
        for part in track(parts, f"{self.name}: items", total=len(parts), show=progress):
            self._mode.fill(self._reader, part, self._memory)

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

    @property
    def _prompts(self) -> Prompts:
        return self._mode.prompts

    @property
    def _unconditional(self) -> npt.NDArray[np.float32]:
        return self._memory

    @property
    def _readable(self) -> npt.NDArray[np.bool_]:
        """(I,) bool: which items have a text."""
        return self._mode.prompts.has_text

    def _read_catalog(self, data: Dataset) -> None:
        assert self._base is not None
        soft: range | tuple[int, ...] = ()
        if self.config.tune.kind == "prompt":
            soft = soft_tokens(self.config.tune, vocabulary(self._base.folder))
        self._mode = mode_of(self.config, data, load_tokenizer(self._base.folder), first=soft)

    def _plain(self, dtype: Any) -> Any:
        """The causal LM that is tuned, to be changed at will: the base, or its own weights."""
        assert self._base is not None
        if self._own is None:
            return load_model(self._base.folder, dtype)
        return copy.deepcopy(self._own).to(dtype)

    def _learn(self, data: Dataset, context: FitContext, tokens: int) -> None:
        """Train for ``tokens`` tokens, from the weights that there are."""
        import torch

        assert self._base is not None
        self._read_catalog(data)
        config, tune, settings = self.config, self.config.tune, self.config.training
        model = None
        if tune.kind != "none" and tokens > 0:
            rng = context.rng(self.name)
            rest, held = hold_out(
                data,
                self._prompts,
                settings.validation_users,
                settings.validation_candidates,
                rng,
            )
            tokenizer = load_tokenizer(self._base.folder)
            rows = lesson(config, data, rest, self._mode, tokenizer, context, rng, tokens)
            seed = int(rng.integers(2**31))
            if rows:
                # adapters' own weights are float32 whatever the frozen ones are
                dtype = working_dtype(config.dtype, self._device)
                exact = needs_float32(tune)
                workdir = self._workdir(data, context, tokens)
                causal = self._plain(torch.float32 if exact else dtype).to(self._device)
                self._mode.check(causal, repr(self))  # before the minutes of training
                reader = Reader(causal)
                trained = begin(causal, tune, self._adapter, seed=seed)
                taught(
                    trained,
                    reader,
                    rows,
                    config,
                    objective=objective_of(config, self._prompts, rest),
                    tokens=tokens,
                    evaluate=self._validator(reader, held) if len(held) else None,
                    half=exact and dtype == torch.bfloat16,
                    seed=seed,
                    workdir=workdir,
                    progress=context.progress,
                )
                if tune.kind == "full":
                    model = trained
                else:
                    self._adapter = changes_of(trained, tune)
        self._finish(model)

    def _validator(self, reader: Reader, held: Validation) -> Callable[[], float]:
        """NDCG@10 of the model as it is at that moment, on the inner validation set."""
        return lambda: ndcg(np.stack(self._mode.tried(reader, held.events, list(held.candidates))))

    def _workdir(self, data: Dataset, context: FitContext, tokens: int) -> Path | None:
        """A folder whose name says everything that the run depends on."""
        if context.workdir is None or self._base is None:
            return None
        parts = [self.config.model_dump_json(), data.fingerprint, self._base.sha256]
        parts += [str(context.seed), str(tokens), self.name]
        weights = [self._adapter[name] for name in sorted(self._adapter)] if self._adapter else []
        if self._own is not None:
            weights += [one.detach().float().cpu().numpy() for one in self._own.parameters()]
        return context.workdir / run_name(parts, weights)

    def _finish(self, model: Any) -> None:
        """Put ``model``, or the base with what was learnt merged in, in place to score.

        `fit` and `load` both come through here, so both score with the same bits.
        """
        import torch

        dtype = working_dtype(self.config.dtype, self._device)
        if model is None:
            model = self._plain(torch.float32 if self._adapter is not None else dtype)
            if self._adapter is not None:
                model = with_changes(model, self.config.tune, self._adapter)
        model = model.to(self._device, dtype).eval()
        self._mode.check(model, repr(self))
        if self.config.tune.kind == "full":
            self._own = model
        if self.config.weights != "none":
            copied = copy.deepcopy(model) if model is self._own else model
            model = quantized(copied, self.config.weights)
        self._reader = Reader(model, HistoryCache(self.config.cache_mb * 2**20))
        self._memory = self._mode.memory(self._reader.size)
