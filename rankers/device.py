"""Where and in what precision the large models compute, how fast that is, and how loud they are."""

from __future__ import annotations

import logging as standard_logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["best_device", "measured_peak", "quiet", "working_dtype"]

#: (M, K, N) of the product that stands for the peak: large enough for any blocking, 10 ms or less
_SHAPE = (1024, 1024, 4096)
_REPEATS = 8


def best_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def working_dtype(choice: str, device: str | None = None) -> Any:
    """The torch dtype for ``auto``, ``float32`` or ``bfloat16`` on ``device`` (default: the best).

    ``auto`` is bfloat16 where the hardware multiplies it natively: AMX or AVX512-BF16 on a CPU, or
    a GPU that says so. Elsewhere bfloat16 is emulated and slower than float32.
    """
    import torch

    if choice != "auto":
        return getattr(torch, choice)
    if (device or best_device().type) == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        native = able.get("amx_bf16", False) or able.get("avx512_bf16", False)
    return torch.bfloat16 if native else torch.float32


@cache
def measured_peak(device: str, dtype: str) -> float:
    """Floating-point operations a second of a large matrix product, the best of a few.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: ``float32`` or ``bfloat16``.
    """
    import torch

    m, k, n = _SHAPE
    kind = getattr(torch, dtype)
    a, b = (torch.ones(shape, dtype=kind, device=device) for shape in ((m, k), (n, k)))

    def once() -> float:
        start = time.perf_counter()
        torch.nn.functional.linear(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    with torch.inference_mode():
        once()  # the first call allocates and chooses a kernel
        return 2.0 * m * k * n / min(once() for _ in range(_REPEATS))


@contextmanager
def quiet(on: bool = True) -> Iterator[None]:
    """Keep transformers' bars and notes off the screen while ``on``; then as before."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    # torchao, where it is installed, lists on import every CUDA library that it cannot load
    others = [standard_logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [other.level for other in others]
    advice = os.environ.get("TRANSFORMERS_NO_ADVISORY_WARNINGS")
    if on:
        os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        for other in others:
            other.setLevel(standard_logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        for other, before in zip(others, levels, strict=True):
            other.setLevel(before)
        if bars:
            logging.enable_progress_bar()
        if on and advice is None:
            os.environ.pop("TRANSFORMERS_NO_ADVISORY_WARNINGS", None)
        elif advice is not None:
            os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = advice
