"""Every registered retriever and ranker has its contract suite; none escapes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fusion.registry import known, resolve
from fusion.testing import ModelContract, RankerContract, RetrieverContract

TESTS = Path(__file__).parent


def _import_suites(monkeypatch: pytest.MonkeyPatch) -> list[ModuleType]:
    """Import the test modules that name a contract; their classes live as long as they do."""
    modules = []
    for file in sorted(TESTS.glob("*/test_*.py")):
        if "Contract)" not in file.read_text("utf-8") or file.stem in sys.modules:
            continue
        monkeypatch.syspath_prepend(file.parent)  # where pytest lets tests find their helpers
        spec = importlib.util.spec_from_file_location(f"contract_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    return modules


def _covered(suite: type[ModelContract]) -> set[type]:
    found: set[type] = set()
    for child in suite.__subclasses__():
        if "plugin" in vars(child):
            found.add(child.plugin)
        found |= _covered(child)
    return found


@pytest.mark.parametrize(
    ("group", "suite", "package"),
    [("retrievers", RetrieverContract, "retrievers"), ("rankers", RankerContract, "rankers")],
)
def test_every_plug_in_has_a_contract_suite(
    group: str, suite: type[ModelContract], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = _import_suites(monkeypatch)
    ours = {name for name, point in known(group).items() if point.value.startswith(package + ".")}
    assert ours, f"no {group} are registered: is the project installed?"
    covered = _covered(suite)
    missing = sorted(name for name in ours if resolve(group, name) not in covered)
    del modules
    assert not missing, f"{group} without a subclass of {suite.__name__}: {missing}"
