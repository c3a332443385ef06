"""Base models: found by name, read once from GGUF, kept as safetensors, never with foreign code."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from hashlib import file_digest, sha256
from io import StringIO
from pathlib import Path
from typing import Any

from fusion.errors import ConfigError, DependencyError, explain
from rankers.device import quiet

__all__ = ["Base", "load_model", "load_tokenizer", "resolve", "save_base", "vocabulary"]

#: what a base model's folder is made of; nothing that would have to be unpickled
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True, slots=True)
class Base:
    """A causal LM on disk in Hugging Face's layout.

    Attributes:
        name: as the configuration says it.
        folder: config, tokenizer and safetensors.
        sha256: of the weights as they were published (the GGUF, or the safetensors in order of
            name), so that an adapter is never put on another model.
    """

    name: str
    folder: Path
    sha256: str


def resolve(name: str, *, progress: bool = False) -> Base:
    """The base model ``name``; a GGUF is dequantised once and kept in the cache.

    Raises:
        ConfigError: it is not a causal LM that this version of transformers knows by itself.
        DependencyError: the package that reads GGUF is missing.
        MissingDataError: no such model (see `fusion.pretrained.resolve_base_model`).
    """
    from fusion.pretrained import cache_folder, resolve_base_model

    found = resolve_base_model(name)
    folder = Path(found.folder)
    if not found.gguf_file:
        return Base(name, folder, _sha256(sorted(folder.glob("*.safetensors")), name))
    source = folder / found.gguf_file
    digest = _sha256([source], name)
    kept = cache_folder("models") / f"{source.stem}-{digest[:16]}"
    if not kept.is_dir():
        _convert(folder, found.gguf_file, kept, progress)
    return Base(name, kept, digest)


def _sha256(files: list[Path], name: str) -> str:
    if not files:
        raise ConfigError(
            explain(f"base model {name!r}", "weights as safetensors or GGUF", "none in its folder",
                    "pickled weights are not read; convert them with save_pretrained")
        )  # fmt: skip
    digests = []
    for path in files:
        with path.open("rb") as stream:
            digests.append(file_digest(stream, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return sha256("".join(digests).encode()).hexdigest()


def _convert(folder: Path, gguf_file: str, target: Path, progress: bool) -> None:
    """GGUF to safetensors in bfloat16, the precision the weights had before they were quantised."""
    try:
        import gguf  # noqa: F401 - transformers asks for it deep inside
    except ImportError as error:
        raise DependencyError(
            explain("gpt", "the package gguf to read a GGUF model", "none",
                    "pip install 'recfusion[demo]'")
        ) from error  # fmt: skip
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        # the reader of GGUF draws its bar without asking anybody
        hidden = nullcontext() if progress else redirect_stderr(StringIO())
        with quiet(not progress), hidden, _named(folder / gguf_file):
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file)
            read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf_file)
            # A model that came from GGUF calls itself quantised and refuses to be saved; the
            # same weights in a model of the same architecture are not.
            settings = read.config.to_dict()
            for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
                settings.pop(key, None)
            with torch.random.fork_rng():  # its first weights are drawn, and thrown away
                clean = AutoModelForCausalLM.from_config(
                    type(read.config).from_dict(settings), dtype=torch.bfloat16
                )
            clean.load_state_dict(read.state_dict())
            clean.save_pretrained(aside)
            tokenizer.save_pretrained(aside)
        try:
            aside.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was quicker, with the same bytes
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a base model."""
    from transformers import AutoTokenizer

    with quiet(), _named(folder):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def load_model(folder: Path, dtype: Any) -> Any:
    """The causal LM of ``folder`` in ``dtype``, in evaluation mode.

    Foreign code is refused in so many words: left unsaid, transformers would ask on the terminal.

    Raises:
        ConfigError: transformers does not know the architecture, or the weights do not fit.
    """
    from transformers import AutoModelForCausalLM

    with quiet(), _named(folder):
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, use_safetensors=True
        )
    return model.eval()


def vocabulary(folder: Path) -> int:
    """How many tokens the base model of ``folder`` has vectors for."""
    from transformers import AutoConfig

    with quiet(), _named(folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return int(config.get_text_config(decoder=True).vocab_size)


def save_base(source: Path, target: Path, model: Any = None) -> None:
    """Copy a base model's folder to ``target`` (not there yet), with ``model``'s weights if given.

    Args:
        source: the base model's folder.
        target: the new one.
        model: a causal LM of that architecture; ``None`` = with the weights that are there.
    """
    target.mkdir()
    for pattern in _FILES:
        for path in sorted(source.glob(pattern)):
            if model is None or ("safetensors" not in path.name and path.name != "config.json"):
                shutil.copyfile(path, target / path.name)
    if model is not None:
        with quiet():
            model.save_pretrained(target)


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ConfigError(
            explain(
                f"base model {folder.name!r}", "a causal LM that transformers knows", str(error)
            )
        ) from error
