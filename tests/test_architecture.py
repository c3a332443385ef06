"""What importing costs, what it loads, and what is public."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import fusion

HEAVY = {"torch", "transformers", "sentence_transformers", "faiss", "peft", "sklearn", "scipy"}
ROOT = Path(fusion.__file__).resolve().parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("fusion", "retrievers", "rankers", "finetuning")
    for path in (ROOT / package).rglob("*.py")
)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def best_of_three(arguments: list[str]) -> float:
    """Seconds of wall clock; the best of three, since other work may disturb one."""
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(arguments, capture_output=True, check=True)
        spent.append(time.perf_counter() - start)
    return min(spent)


def loaded_by(code: str) -> set[str]:
    out = run(f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))")
    return set(out.splitlines()[-1].split())


def test_importing_the_package_is_quick() -> None:
    assert best_of_three([sys.executable, "-c", "import fusion"]) < 0.5


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import fusion") & {*HEAVY, "numpy", "pandas", "pydantic", "lightgbm"}


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    help_of = "from fusion.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_by(help_of) & {*HEAVY, "numpy", "pandas", "polars", "pydantic", "lightgbm"}
    assert best_of_three([sys.executable, "-m", "fusion.cli", "--help"]) < 1.0


def test_no_module_of_the_core_loads_a_model_library() -> None:
    imports = "\n".join(f"import {name}" for name in MODULES if name.startswith("fusion"))
    assert not loaded_by(imports) & (HEAVY - {"sklearn", "scipy"})


def test_checking_a_configuration_of_every_component_loads_nothing_heavy() -> None:
    code = """
from fusion.registry import GROUPS, known, resolve
for group in GROUPS:
    for name in known(group):
        resolve(group, name)
"""
    assert not loaded_by(code) & HEAVY


def test_the_public_names_are_these() -> None:
    assert fusion.__all__ == [
        "Candidates",
        "Dataset",
        "Engine",
        "Queries",
        "RecfusionError",
        "Recommendation",
        "__version__",
    ]


@pytest.mark.parametrize("name", fusion.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(fusion, name) is not None
    assert name in dir(fusion)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Enigne'"):
        _ = fusion.Enigne  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_is_public_and_has_it(name: str) -> None:
    module = __import__(name, fromlist=["_"])
    assert module.__doc__
    if name.count(".") == 0 or module.__file__.endswith("__init__.py") or "_version" in name:
        return
    for public in module.__all__:
        assert hasattr(module, public)


@pytest.mark.parametrize("package", ["fusion", "retrievers", "rankers", "finetuning"])
def test_types_are_shipped(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
