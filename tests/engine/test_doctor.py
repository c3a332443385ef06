from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import fusion.doctor as doctor
from fusion.doctor import Finding, examine


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Probes that answer at once, and a cache of its own."""
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "_FAISS_PROBE", 'print("{\\"gpus\\": 2}")')
    torch = '{"device": "H100", "bf16": true, "threads": 4, "capability": "AVX512"}'
    monkeypatch.setattr(doctor, "_TORCH_PROBE", f"print('''{torch}''')")
    return tmp_path


def found(what: str) -> Finding:
    (finding,) = (finding for finding in examine() if finding.what == what)
    return finding


def test_versions_are_those_installed(quick: Path) -> None:
    assert found("numpy") == Finding("numpy", version("numpy"))
    assert sys.version.split()[0] in found("python").found


def test_a_missing_library_is_not_ok(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LIBRARIES", ("no-such-library",))
    assert found("no-such-library") == Finding(
        "no-such-library", "not installed", ok=False, do="pip install no-such-library"
    )


def test_the_devices_are_what_the_probes_say(quick: Path) -> None:
    assert found("device").found == "H100 (AVX512, 4 threads)"
    assert found("bf16") == Finding("bf16", "supported")
    assert "GPUs it sees: 2" in found("faiss").found


@pytest.mark.parametrize(
    ("probe", "why"),
    [
        ("raise ImportError('libcudart is not there')", "libcudart is not there"),
        ("import os; os.abort()", "cannot be imported: ended with status -6"),
    ],
)
def test_a_library_that_crashes_does_not_take_the_doctor_with_it(
    quick: Path, monkeypatch: pytest.MonkeyPatch, probe: str, why: str
) -> None:
    monkeypatch.setattr(doctor, "_TORCH_PROBE", probe)
    assert why in found("device").found
    assert not found("device").ok


def test_without_faiss_both_extras_are_named(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_FAISS_PROBE", "import no_such_faiss")
    monkeypatch.setattr(doctor, "_FAISS", ())
    assert found("faiss").found == "not installed"
    assert "recfusion[cpu]" in found("faiss").do
    assert "recfusion[gpu]" in found("faiss").do


def test_an_endless_probe_is_stopped(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_TIMEOUT", 0.2)
    monkeypatch.setattr(doctor, "_TORCH_PROBE", "import time; time.sleep(60)")
    assert "no answer" in found("device").found


def test_the_cache_and_its_size(quick: Path) -> None:
    (quick / "file").write_bytes(b"0" * 2_500_000)
    assert found("cache").found == f"{quick} (2.5 MB)"


def test_the_real_probes_answer() -> None:
    pytest.importorskip("faiss")
    for probe, key in ((doctor._FAISS_PROBE, "gpus"), (doctor._TORCH_PROBE, "bf16")):
        answer = doctor._answer(doctor._start(probe))
        assert isinstance(answer, dict), answer
        assert key in answer


def test_every_package_is_looked_for_without_importing_it() -> None:
    code = (
        "import sys, fusion.doctor as d; list(d._packages()); "
        "print(set(d._PACKAGES) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
