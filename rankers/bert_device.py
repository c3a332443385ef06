"""Where and in what precision the BERT ranker computes, and how loud its libraries are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["best_device", "quiet", "working_dtype"]


def best_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def working_dtype(name: str) -> Any:
    """``float32``, ``bfloat16``, or for ``auto`` bfloat16 where the device multiplies it natively.

    On a CPU that is AMX or AVX512-BF16; elsewhere bfloat16 is emulated and slower than float32.
    """
    if name != "auto":
        return getattr(torch, name)
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # no public function tells; without these the answer is the safe one
        tests = [
            getattr(torch.cpu, f"_is_{what}_supported", None)
            for what in ("avx512_bf16", "amx_tile")
        ]
        native = any(test() for test in tests if test is not None)
    return torch.bfloat16 if native else torch.float32


@contextmanager
def quiet(on: bool = True) -> Iterator[None]:
    """Keep transformers' bars and notes off the screen while ``on``."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    if on:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
