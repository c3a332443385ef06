"""A causal LM, asked for what it thinks comes next at chosen places of many sequences at once."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fusion.errors import ConfigError, explain
from fusion.work import attention_flops, count, linear_flops, timed
from rankers.gpt_attention import Plan, UnsupportedError, dense_mask, tree_attention
from rankers.gpt_cache import Entry, HistoryCache
from rankers.gpt_head import Head
from rankers.gpt_tree import Layout, Tree, grow, lay_out
from rankers.packing import Packed, attention_mask

if TYPE_CHECKING:
    import torch

__all__ = ["Branches", "Reader"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
#: tokens of a pass under a dense mask, whose cost is their square
_DENSE = 1024


@dataclass(frozen=True, slots=True)
class Branches:
    """A history and what may follow it, as far as an earlier pass has not read it.

    Attributes:
        history: (H,) int64 token ids, not empty.
        tree: the tokens that are to be read after it.
        entry: what is known of the history; ``None`` = nothing.
        known: of how many of its first tokens.
    """

    history: Ints
    tree: Tree
    entry: Entry | None = None
    known: int = 0

    @property
    def size(self) -> int:
        """Tokens that a pass must compute."""
        return len(self.history) - self.known + len(self.tree)


class Reader:
    """A causal LM of Hugging Face transformers, asked for logits at chosen places.

    Args:
        model: the LM, in evaluation mode. LoRA layers may be put inside afterwards.
        cache: where histories are kept; by default nowhere. Its keys and values are this model's:
            whoever changes the weights clears it.

    Attributes:
        size: numbers of a hidden state.
        trees: whether attention runs over trees (`rankers.gpt_attention`); else, for a model that
            does not take an attention function, under a dense mask, and nothing is kept.

    Raises:
        ConfigError: the model cannot be packed: a candidate's hidden states change with its
            neighbours (recurrent layers, position biases that ignore ``position_ids``...), or its
            hidden states are not finite.
    """

    def __init__(self, model: Any, cache: HistoryCache | None = None) -> None:
        self.model = model
        self.decoder = model.base_model
        self.head = Head(model)
        self.cache = HistoryCache(0)  # not while the model is tried out
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self.trees = True
        self._weights = _matrix_weights(self.decoder)
        settings = model.config.get_text_config(decoder=True)
        heads = settings.num_attention_heads
        width = getattr(settings, "head_dim", None) or settings.hidden_size // heads
        self._width, self._layers = heads * width, settings.num_hidden_layers
        self.size = int(settings.hidden_size)
        self._check()
        # without trees no keys pass through our hands; where the head is not plain, no last state
        if cache is not None and self.trees and self.head.plain:
            self.cache = cache

    def budget(self, tokens: int) -> int:
        """How many of ``tokens`` one pass had better read."""
        return tokens if self.trees else min(tokens, _DENSE)

    def know(self, history: Ints) -> tuple[Entry | None, int]:
        """What is kept of ``history``, as `HistoryCache.find`."""
        return self.cache.find(history) if self.cache.on else (None, 0)

    def log_likelihood(self, rows: Sequence[Branches], places: Ints, targets: Ints) -> Floats:
        """(R,) float32: log-probability of token ``targets`` (R,) after ``places`` (R,).

        Args:
            rows: what one pass reads.
            places: row after row, the end of the history is 0 and node ``i`` is ``i + 1``; each
                row's places start where those of the row before it end.
            targets: token ids.
        """
        import torch

        with torch.inference_mode():
            # Many candidates go on from one place (the history's end): its softmax is taken once.
            unique, which = np.unique(places, return_inverse=True)
            states = self._states(rows, unique)
            with timed("head"):
                place = torch.from_numpy(which).to(self.device, non_blocking=True)
                target = torch.from_numpy(targets).to(self.device, non_blocking=True)
                values = self.head.log_likelihood(states, place, target)
                return np.asarray(values.cpu().numpy(), np.float32)

    def difference(self, rows: Sequence[Branches], places: Ints, yes: int, no: int) -> Floats:
        """(R,) float32: logit of ``yes`` less logit of ``no`` after ``places`` (R,), as above."""
        import torch

        with torch.inference_mode():
            states = self._states(rows, places)
            with timed("head"):
                return np.asarray(self.head.difference(states, yes, no).cpu().numpy(), np.float32)

    def logits(self, rows: Sequence[Branches], places: Ints, tokens: Ints) -> Floats:
        """(R, L) float32: logits of ``tokens`` (L,) after ``places`` (R,), as above."""
        import torch

        with torch.inference_mode():
            states = self._states(rows, places)
            with timed("head"):
                found = self.head.logits(states, torch.from_numpy(tokens).to(self.device))
                return np.asarray(found.cpu().numpy(), np.float32)

    def hidden(self, rows: Sequence[Branches], places: Ints) -> torch.Tensor:
        """(R, D) last hidden states at ``places`` (R,), as above, whatever the head."""
        import torch

        with torch.inference_mode():
            return self._states(rows, places, hidden=True)

    def answer(self, packed: Packed, rows: Ints, yes: int, no: int) -> torch.Tensor:
        """(R,) float32: `difference` of a packed batch under a dense mask, for training.

        Args:
            packed: B rows of T tokens.
            rows: (R,) places in the flattened batch.
            yes: token id.
            no: token id.
        """
        return self.head.difference(self._packed(packed, rows), yes, no)

    def chosen(self, packed: Packed, rows: Ints, tokens: Ints) -> torch.Tensor:
        """(R, L) float32: `logits` of a packed batch, as `answer`."""
        import torch

        return self.head.logits(
            self._packed(packed, rows), torch.from_numpy(tokens).to(self.device)
        )

    def states(self, packed: Packed, rows: Ints) -> torch.Tensor:
        """(R, D): `hidden` of a packed batch, as `answer`."""
        return self._packed(packed, rows, hidden=True)

    def _packed(self, packed: Packed, rows: Ints, *, hidden: bool = False) -> torch.Tensor:
        """(R, D) last hidden states, or (R, V) logits where the head is not plain."""
        import torch

        segments = torch.from_numpy(packed.segments).to(self.device)
        inputs = {
            "input_ids": torch.from_numpy(packed.tokens).to(self.device),
            "position_ids": torch.from_numpy(packed.positions).to(self.device),
            "attention_mask": attention_mask(segments, causal=True, dtype=self.dtype),
            "use_cache": False,
        }
        if self.head.plain or hidden:
            out = self.decoder(**inputs).last_hidden_state
        else:
            out = self.model(**inputs).logits
        return out.reshape(-1, out.shape[-1])[torch.from_numpy(rows).to(self.device)]

    # -- one pass -------------------------------------------------------------------------------

    def _states(
        self, rows: Sequence[Branches], places: Ints, *, hidden: bool = False
    ) -> torch.Tensor:
        """(R, D) last hidden states at ``places``.

        Logits (R, V) where the head is not plain, unless ``hidden`` states are what is asked for.
        """
        import torch

        with timed("prepare"):
            layout = lay_out(
                [r.history for r in rows], [r.tree for r in rows], [r.known for r in rows]
            )
            at = _places(layout)[places]
            if self.cache.on:
                hits = sum(r.known > 0 for r in rows)
                count(cache_hits=hits, cache_misses=len(rows) - hits)
        with timed("forward"):
            index = torch.from_numpy(at).to(self.device, non_blocking=True)
            ends = [r.entry.last for r in rows if r.entry and r.known == len(r.history)]
            if not len(layout.tokens):  # whole histories known, candidates of one token
                return torch.stack(ends)[index]
            plan = self._plan(layout, [r.entry for r in rows])
            if not (self.head.plain or hidden):
                return self._run(layout, plan, index)
            states = self._run(layout, plan)
            if plan is not None:
                for b, layers in plan.kept.items():
                    last = states[layout.blocks[b].first - 1].clone()
                    self.cache.put(Entry(rows[b].history, layers, last))
            if ends:
                states = torch.cat([states, torch.stack(ends)])
            return states.index_select(0, index)

    def _plan(self, layout: Layout, entries: Sequence[Entry | None]) -> Plan | None:
        if not self.trees:
            return None
        past = [None if entry is None else entry.layers for entry in entries]
        keep = [self.cache.on and block.fresh > 0 for block in layout.blocks]
        both = zip(layout.blocks, entries, strict=True)
        count(bytes=sum(block.known * entry.token_bytes for block, entry in both if entry))
        return Plan(layout, self.device, self.dtype, past, keep)

    def _run(
        self, layout: Layout, plan: Plan | None, logits_at: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(N, D) last hidden states of a pass, or (R, V) logits at some of its places."""
        import torch

        ids = np.stack([layout.tokens, layout.positions])[:, None]
        placed = torch.from_numpy(ids).to(self.device, non_blocking=True)
        inputs = {"input_ids": placed[0], "position_ids": placed[1], "use_cache": False}
        ask = self.decoder
        if logits_at is not None:
            ask, inputs["logits_to_keep"] = self.model, logits_at
        if plan is None:
            pairs = float(len(layout.tokens)) ** 2
            inputs["attention_mask"] = dense_mask(layout, self.device, self.dtype)
            found = ask(**inputs)
        else:
            pairs = plan.pairs
            # a mask of four dimensions is handed on as it is, so that none is made for nothing
            inputs["attention_mask"] = placed.new_empty(1, 1, 1, 1)
            with tree_attention(self.decoder, plan):
                found = ask(**inputs)
        flops = linear_flops(len(layout.tokens), self._weights)
        flops += attention_flops(pairs, self._width, self._layers)
        count(tokens=len(layout.tokens), passes=1, flops=flops)
        return (found.last_hidden_state if logits_at is None else found.logits)[0]

    # -- what kind of model it is ---------------------------------------------------------------

    def _check(self) -> None:
        """Two candidates in one pass against one alone; the first way that agrees is taken."""
        import torch

        name = type(self.model).__name__
        if "position_ids" not in inspect.signature(self.decoder.forward).parameters:
            raise ConfigError(
                explain(f"gpt with {name}", "a causal LM that takes position_ids", "none",
                        "choose a model with rotary or absolute positions")
            )  # fmt: skip
        parts = ([1, 5, 7], [11, 13, 2], [11, 17, 19])
        history, first, second = (np.array(p) % min(self.head.size, 97) for p in parts)
        layout = lay_out([history], [grow([first, second])])
        ids = torch.from_numpy(np.concatenate([history, second]))[None].to(self.device)
        with torch.inference_mode():
            alone = self.decoder(input_ids=ids, use_cache=False).last_hidden_state[0]
            logits = self.model(input_ids=ids, use_cache=False).logits[0].float()
            found = self.head.module(alone).float()
        if not alone.isfinite().all():
            raise ConfigError(
                explain(f"gpt with {name}", "finite hidden states", "NaN or infinity",
                        "if it was just trained, lower training.learning_rate")
            )  # fmt: skip
        self.head.plain = torch.allclose(found, logits, 1e-3, 1e-3)
        slack = 0.1 if self.dtype != torch.float32 else 1e-3
        path = layout.blocks[0].first + layout.blocks[0].tree.paths[1]
        for self.trees in (True, False):
            with torch.inference_mode():
                states = self._probe(layout)
            if states is None:
                continue
            error = states[torch.from_numpy(path).to(self.device)].float() - alone[-3:].float()
            if error.norm() <= slack * alone[-3:].float().norm():
                return
        raise ConfigError(
            explain(f"gpt with {name}", "attention that obeys a block mask", "another",
                    "choose a model with full attention and rotary or absolute positions")
        )  # fmt: skip

    def _probe(self, layout: Layout) -> torch.Tensor | None:
        """Hidden states of ``layout``; ``None`` where the model does not take the attention."""
        plan = self._plan(layout, [None])
        try:
            states = self._run(layout, plan)
        except (UnsupportedError, RuntimeError, ValueError, KeyError):
            if plan is None:
                raise
            return None
        return states if plan is None or plan.layers == self._layers else None


def _places(layout: Layout) -> Ints:
    """The row of the hidden states for each block's history's end and nodes, block after block.

    The state of a history that is wholly known stands behind those of the pass.
    """
    out, behind = [], len(layout.tokens)
    for block in layout.blocks:
        end = block.first - 1 if block.fresh else behind
        behind += not block.fresh
        out += [np.array([end]), np.arange(block.first, block.stop)]
    return np.concatenate(out)


def _matrix_weights(decoder: Any) -> int:
    """Numbers in the matrices that every token goes through; embeddings are only looked up."""
    import torch

    looked_up = {
        id(p)
        for m in decoder.modules()
        if isinstance(m, torch.nn.Embedding)
        for p in m.parameters()
    }
    return sum(p.numel() for p in decoder.parameters() if p.ndim > 1 and id(p) not in looked_up)
