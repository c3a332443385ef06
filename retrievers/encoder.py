"""The sentence encoder: found, loaded, asked for unit vectors."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fusion.errors import ConfigError, explain
from fusion.pretrained import resolve_base_model
from fusion.work import attention_flops, count, linear_flops

__all__ = ["Encoder", "Precision", "unit", "uses_bf16"]

Precision = Literal["auto", "float32", "bfloat16"]


class Encoder:
    """A `SentenceTransformer` that gives vectors of length 1.

    Args:
        model: the `SentenceTransformer`.
        precision: of training and of encoding in bulk, see `uses_bf16`.
    """

    def __init__(self, model: Any, precision: Precision = "auto") -> None:
        self.model = model.eval()
        self.bf16 = uses_bf16(precision, model.device.type)
        self._longest: int | None = model.max_seq_length  # what the model itself can read

    @classmethod
    def base(cls, name: str, precision: Precision = "auto") -> Encoder:
        """The base model that ``name`` stands for; see `fusion.pretrained`.

        Raises:
            ConfigError: it is a GGUF file, which holds a language model and no encoder.
            MissingDataError, DependencyError: it is not on this machine.
        """
        found = resolve_base_model(name)
        if found.gguf_file is not None:
            raise ConfigError(
                explain("dense retriever", "a sentence encoder in safetensors", f"{name} (GGUF)")
            )
        return cls.load(found.folder, precision)

    @classmethod
    def load(cls, folder: Path, precision: Precision = "auto") -> Encoder:
        """The encoder in ``folder``: safetensors only, no code of its own."""
        from sentence_transformers import SentenceTransformer

        with _quiet():
            model = SentenceTransformer(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        return cls(model, precision)

    def save(self, folder: Path) -> None:
        """Write a folder that `load` and sentence-transformers itself can read."""
        self.model.max_seq_length = self._longest
        self.model.save_pretrained(str(folder), create_model_card=False)

    def reading(self, tokens: int) -> Any:
        """The `SentenceTransformer`, set to read ``tokens`` of a text, or as many as it can."""
        self.model.max_seq_length = min(tokens, self._longest or tokens)
        return self.model

    def project(self) -> None:
        """Put a square projection on top that changes nothing yet, if there is none already."""
        import torch
        from sentence_transformers.sentence_transformer.modules import Dense

        if any(isinstance(module, Dense) for module in self.model):
            return
        size = self.width
        self.model.append(
            Dense(
                size,
                size,
                bias=False,
                activation_function=torch.nn.Identity(),
                init_weight=torch.zeros(size, size),
                use_residual=True,  # decay then draws it to no change, and not to nothing
            ).to(self.model.device)
        )

    @property
    def width(self) -> int:
        """D, the dimensions of a vector."""
        return int(self.model.get_embedding_dimension())

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, by name."""
        out = sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            out.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            out.update(tensor.detach().cpu().contiguous().flatten().float().numpy().data)
        return out.hexdigest()

    def encode(
        self,
        texts: Sequence[str],
        *,
        tokens: int,
        batch_size: int,
        exact: bool,
        progress: bool = False,
    ) -> npt.NDArray[np.float32]:
        """(len(texts), D) float32 vectors of length 1; a repeated text is encoded once.

        Counts ``tokens`` (padding included), ``passes`` and ``flops``.

        Args:
            texts: in any order; batches are made of texts of like length.
            tokens: how much of a text is read.
            batch_size: texts at once.
            exact: float32, whatever the precision chosen. In bfloat16 a cosine moves by some 0.01
                with the batch a text stands in, which is no matter for vectors that are kept, but
                is for texts that are asked about again.
            progress: show a bar if the work is long.
        """
        import torch

        model = self.reading(tokens)
        place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        if not place:
            return np.empty((0, self.width), np.float32)
        half = self.bf16 and not exact
        precision = torch.autocast(model.device.type, torch.bfloat16) if half else nullcontext()
        with precision, _counted(model):
            vectors = model.encode(
                list(place),
                batch_size=batch_size,
                show_progress_bar=progress and len(place) > 1_000,
                convert_to_numpy=True,
            )
        unique = unit(vectors.astype(np.float32, copy=False))
        return unique[[place[text] for text in texts]]


@contextmanager
def _counted(model: Any) -> Iterator[None]:
    """Count what goes through the transformer that stands first in ``model``."""
    import torch

    transformer = model[0]
    config = transformer.auto_model.config
    each = {"token": 0, "text": 0}  # numbers in the matrices that each token, and each text, meets
    for name, module in transformer.named_modules():
        if isinstance(module, torch.nn.Linear):
            each["text" if "pooler" in name else "token"] += module.weight.numel()

    def look(_: Any, inputs: tuple[Any, ...]) -> None:
        rows, length = inputs[0]["input_ids"].shape
        flops = linear_flops(rows * length, each["token"]) + linear_flops(rows, each["text"])
        flops += attention_flops(rows * length**2, config.hidden_size, config.num_hidden_layers)
        count(tokens=rows * length, passes=1, flops=flops)

    handle = transformer.register_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()


def uses_bf16(precision: Precision, device: str) -> bool:
    """Whether to autocast to bfloat16; ``auto`` does where the hardware multiplies it natively."""
    import torch

    if precision != "auto":
        return precision == "bfloat16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``vectors`` (N, D) scaled to length 1; a zero vector stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: npt.NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return out


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing a bar for the half second that weights take to load."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    noisy = logging.getLogger("sentence_transformers")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        yield
    finally:
        noisy.setLevel(level)
        if shown:
            transformers_logging.enable_progress_bar()
