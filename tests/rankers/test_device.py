"""Where the large models compute, and that asking leaves no trace."""

from __future__ import annotations

import pytest
import torch

from rankers.device import best_device, measured_peak, quiet, working_dtype


def test_dtype_is_what_was_asked_or_what_the_cpu_multiplies() -> None:
    assert working_dtype("float32", "cpu") == torch.float32
    assert working_dtype("bfloat16", "cpu") == torch.bfloat16
    able = torch.cpu.get_capabilities()
    fast = able.get("amx_bf16") or able.get("avx512_bf16")
    assert working_dtype("auto", "cpu") == (torch.bfloat16 if fast else torch.float32)


def test_the_best_device_is_the_gpu_where_there_is_one() -> None:
    assert (best_device().type == "cuda") == torch.cuda.is_available()


def test_the_peak_is_a_rate_that_a_cpu_can_have() -> None:
    peak = measured_peak("cpu", "float32")
    assert 1e9 < peak < 1e14
    assert measured_peak("cpu", "float32") == peak  # measured once


def test_quiet_puts_settings_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from transformers.utils import logging

    monkeypatch.delenv("TRANSFORMERS_NO_ADVISORY_WARNINGS", raising=False)
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with quiet():
        assert not logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == logging.ERROR
        assert os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] == "1"
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert "TRANSFORMERS_NO_ADVISORY_WARNINGS" not in os.environ
