"""The BERT ranker's encoder through OpenVINO, converted in process, in float32, bfloat16 or int8.

Each mode hands OpenVINO one torch module whose inputs and outputs are plain tensors of any length;
what follows the encoder (pooling, MaxSim) stays in torch. Without `dtype: float32` the CPU plug-in
chooses its own precision: bfloat16 where the processor multiplies it natively.

int8 is nncf's post-training quantisation for transformers: weights per channel, activations per
tensor with SmoothQuant (Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training
Quantization for Large Language Models", ICML 2023, section 4), ranges taken from a few dozen
requests made of the fitted data.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import nn

from fusion.candidates import Candidates
from fusion.data.dataset import Dataset
from fusion.errors import DependencyError, explain
from fusion.queries import Queries
from rankers.bert_blocks import Blocks
from rankers.bert_config import Config
from rankers.bert_cross import CrossNet, Pairs, make_pairs
from rankers.bert_history import pasts
from rankers.bert_model import Flat, Net
from rankers.bert_scoring import plan, read
from rankers.bert_text import Texts

__all__ = ["compiled"]

#: requests and candidates of each that int8's ranges are taken from
_REQUESTS, _CANDIDATES = 32, 16
_ATTENTION = r".*aten::(matmul|baddbmm|scaled_dot_product_attention).*"


def compiled(net: Any, texts: Texts, config: Config, data: Dataset | None) -> Any:
    """What stands for `Net.encode` of a `Flat`, or for `CrossNet.logits` of `Pairs`.

    Args:
        net: float32, on the CPU.
        data: whose histories int8 is calibrated on; needed for int8 only.

    Raises:
        DependencyError: OpenVINO or nncf is not installed.
    """
    try:
        import openvino

        if config.quantize == "int8":
            import nncf
    except ImportError as error:
        raise DependencyError(
            explain(
                "bert backend: openvino",
                "the packages openvino and nncf",
                str(error),
                "pip install 'recfusion[openvino]', or choose backend: torch",
            )
        ) from error
    module: nn.Module
    if isinstance(net, CrossNet):
        module, example = _Pairwise(net), _pair_inputs(_example_pairs(texts))
    elif net.history_bias is None:
        module, example = _Alone(net), _alone_inputs(_example_flat(net, texts))
    else:
        module, example = _Shared(net), _flat_inputs(_example_flat(net, texts))
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing notes the shapes that it sees
        model = openvino.convert_model(module.eval(), example_input=example)
    if config.quantize == "int8":
        inputs = [_inputs(net, x) for x in _requests(net, texts, config, data)]
        with _quiet_nncf():
            model = nncf.quantize(
                model,
                nncf.Dataset([tuple(x.numpy() for x in row) for row in inputs]),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=len(inputs),
                # products of two activations: little of the work, and much of the error
                ignored_scope=nncf.IgnoredScope(patterns=[_ATTENTION], validate=False),
            )
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    if config.dtype != "auto":
        settings["INFERENCE_PRECISION_HINT"] = {"float32": "f32", "bfloat16": "bf16"}[config.dtype]
    return _Compiled(net, openvino.Core().compile_model(model, "CPU", settings))


class _Compiled:
    """A compiled model, called like what it stands for."""

    def __init__(self, net: Any, model: Any) -> None:
        self._net, self._model = net, model

    def __call__(self, x: Any) -> torch.Tensor:
        """(T, D) states of a `Flat`, or (P,) logits of `Pairs`; float32."""
        # a request of its own for each call: threads may call at once
        request = self._model.create_infer_request()
        found = request.infer([part.numpy() for part in _inputs(self._net, x)])
        out = torch.from_numpy(np.array(found[0], np.float32))
        if isinstance(x, Flat) and self._net.history_bias is None:
            return _unpad(out, x)
        return out


class _Shared(nn.Module):  # type: ignore[misc]
    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        types: torch.Tensor,
        history: torch.Tensor,
        history_mask: torch.Tensor,
        items: torch.Tensor,
        items_mask: torch.Tensor,
        back: torch.Tensor,
    ) -> torch.Tensor:
        blocks = Blocks(history, history_mask, items, items_mask, back, self.net.history_bias)
        return self.net.encode(Flat(tokens, positions, types, blocks))


class _Alone(nn.Module):  # type: ignore[misc]
    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        types = {"token_type_ids": torch.zeros_like(tokens)} if self.net.types > 1 else {}
        output = self.net.encoder(input_ids=tokens, attention_mask=mask, **types)
        return output.last_hidden_state


class _Pairwise(nn.Module):  # type: ignore[misc]
    def __init__(self, net: CrossNet) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor, types: torch.Tensor
    ) -> torch.Tensor:
        return self.net.logits(Pairs(tokens, mask, types))


def _inputs(net: Any, x: Any) -> tuple[torch.Tensor, ...]:
    if isinstance(x, Pairs):
        return _pair_inputs(x)
    return _alone_inputs(x) if net.history_bias is None else _flat_inputs(x)


def _flat_inputs(flat: Flat) -> tuple[torch.Tensor, ...]:
    return (flat.tokens, flat.positions, flat.types, *flat.blocks.tensors)


def _alone_inputs(flat: Flat) -> tuple[torch.Tensor, ...]:
    """Texts of their own, padded: tokens (U, S) and mask (U, S) int64."""
    mask = (flat.blocks.history_mask == 0).long()
    return flat.tokens[flat.blocks.history], mask


def _unpad(states: torch.Tensor, flat: Flat) -> torch.Tensor:
    return states.flatten(0, 1)[flat.blocks.back]


def _pair_inputs(pairs: Pairs) -> tuple[torch.Tensor, ...]:
    return pairs.tokens, pairs.mask, pairs.types


def _example_flat(net: Net, texts: Texts) -> Flat:
    """Two histories of different lengths; two candidates each, where those look at histories."""
    several = [[5], [3]] if net.history_bias is None else [[5, 3, 4], [3, 5, 2]]
    lengths = np.array(several, np.int64)
    return net.layout(np.full(int(lengths.sum()), texts.start), lengths)


def _example_pairs(texts: Texts) -> Pairs:
    word = np.array([texts.start], np.int32)
    known = np.flatnonzero(texts.known)[:2]
    return make_pairs(texts, [word.repeat(n) for n in (3, 5)[: len(known)]], known)


def _requests(net: Any, texts: Texts, config: Config, data: Dataset | None) -> Iterator[Any]:
    """What would be computed for some users of ``data`` and random candidates."""
    if data is None:
        raise ValueError("int8 needs data to be calibrated on")
    rng = np.random.default_rng(0)
    known = np.flatnonzero(texts.known).astype(np.int32)
    events = data.interactions
    users = np.unique(events.users[texts.known[events.items]])
    users = np.sort(rng.permutation(users)[:_REQUESTS])
    queries: Queries = data.queries(users)
    items = np.concatenate([rng.permutation(known)[:_CANDIDATES] for _ in users])
    size = min(_CANDIDATES, len(known))
    candidates = Candidates.bare(np.arange(len(users) + 1, dtype=np.int64) * size, items)
    if isinstance(net, CrossNet):
        for q, past in enumerate(pasts(queries)):
            shown = [texts.shown(past)] * size
            yield make_pairs(texts, shown, items[q * size : (q + 1) * size])
        return
    histories, sequences = plan(queries, candidates, texts, config.max_tokens)
    for sequence in sequences:
        if net.history_bias is not None:
            yield read(net, texts, histories, [sequence], items)
            continue
        chosen = texts.candidates.take(items[sequence.rows])
        history = np.asarray(histories[sequence.query], np.int32)
        yield net.layout(history, np.array([[len(history)]]))
        yield net.layout(chosen.values, chosen.lengths[:, None])


@contextmanager
def _quiet_nncf() -> Iterator[None]:
    """Without nncf's bars and notes."""
    import nncf

    logger = logging.getLogger("nncf")
    level = logger.level
    nncf.set_log_level(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):  # its bars have no switch
            yield
    finally:
        nncf.set_log_level(level or logging.INFO)
