"""A fusion method from somebody else's package: one file, its test, one entry-point line.

The package is the one that ``docs/how-to/fusion-method.md`` shows. It is installed by pip into an
environment of its own, and used there from YAML, by a process that knows nothing of this test.
"""

from __future__ import annotations

import json
import re
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import fusion

ROOT = Path(fusion.__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "how-to" / "fusion-method.md"
FILES = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
YAML = """
retrievers:
  item_transition: {}
  popularity: {}
fusion:
  mode: parallel
  method: {name: dowdall, weights: {item_transition: 2}}
stacking: null
"""
USE = """
import json, sys
import pyarrow as pa
from fusion import Dataset, Engine
met = pa.table({
    "user_id": [f"u{u}" for u in range(9) for _ in range(4)],
    "item_id": [f"i{(u + s) % 6}" for u in range(9) for s in range(4)],
    "timestamp": [s for _ in range(9) for s in range(4)],
})
engine = Engine.from_yaml(sys.argv[1]).fit(Dataset.from_frames(met))
best = engine.recommend(history=["i1"], k=1)[0]
print(json.dumps([best.item_id, best.score, dict(best.contributions)]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new environment that sees what is installed here, and the package in addition."""
    folder = tmp_path_factory.mktemp("foreign")
    package, home = folder / "package", folder / "environment"
    package.mkdir()
    for name, text in FILES.findall(PAGE.read_text("utf-8")):
        (package / name).write_text(text, "utf-8")
    assert sorted(path.name for path in package.iterdir()) == [
        "dowdall.py",
        "pyproject.toml",
        "test_dowdall.py",
    ]
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    (own,) = (home / "lib").glob("python3*/site-packages")
    ours = [path for path in site.getsitepackages() if Path(path).is_dir()]
    # addsitedir, since an editable install is known by a .pth file of its own
    (own / "ours.pth").write_text(
        "".join(f"import site; site.addsitedir({path!r})\n" for path in ours), "utf-8"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--no-index", str(package)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return python


def run(python: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(python), *arguments], capture_output=True, text=True, check=False, cwd=python.parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="environments lie elsewhere there")
def test_an_installed_method_is_used_from_yaml(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").write_text(YAML, "utf-8")
    item, score, parts = json.loads(run(environment, "-c", USE, str(tmp_path / "engine.yaml")))
    assert item == "i2"  # everybody walks along the items
    assert parts["item_transition"] == 2 / 1
    assert score == pytest.approx(sum(parts.values()))


@pytest.mark.skipif(sys.platform == "win32", reason="environments lie elsewhere there")
def test_it_is_known_by_name_and_owner_there_and_not_here(environment: Path) -> None:
    code = "from fusion.registry import known; p = known('methods')['dowdall']; print(p.dist.name)"
    assert run(environment, "-c", code).strip() == "recfusion-dowdall"
    from fusion.registry import known

    assert "dowdall" not in known("methods")
