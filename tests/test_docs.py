"""The documentation is run: README, every page under docs/, every docstring with an example.

What a fenced block's language means here:

- ``python``: executed, one namespace a page, in a folder of its own. ``>>>`` examples are doctests.
- ``output``: what the block before it printed. Printing something that no page shows is an error.
  ``...`` stands for anything; numbers are compared to the digits shown.
- ``console``: lines after ``$`` are run (``recfusion``, ``python``, ``pip install -e .``), the
  others are their output. A command without output shown must only succeed.
- ``yaml``: a whole configuration. ``<!-- yaml: overlay -->`` above it says a part of one,
  ``<!-- yaml: wrong -->`` one that must be refused, ``<!-- yaml: other -->`` no configuration.
- ``sh``: not run; its make targets, extras, scripts, commands and options must exist.
- ``toml``, ``ini``, ``json``: must be well formed. ``text`` and ``mermaid`` are for people, and
  ``{directives}`` for Sphinx.

``<!-- file: NAME -->`` above a block writes it to that file first (Python is then not executed, but
imported by who needs it). ``<!-- skip: next "reason" -->`` leaves one out, with its reason shown.
"""

from __future__ import annotations

import configparser
import contextlib
import doctest
import importlib
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import SkipTest

import pytest
from sybil import Document, Example, Region
from sybil.evaluators.doctest import NUMBER, DocTestEvaluator, OutputChecker
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from sybil.parsers.markdown.skip import SkipParser

import fusion
from fusion.config import EngineConfig
from fusion.errors import ConfigError
from fusion.registry import known

ROOT = Path(fusion.__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts),
]
FLAGS = doctest.ELLIPSIS | NUMBER
COMMENT = re.compile(r"<!--\s*(\w+):\s*(.*?)\s*-->\s*$")
PLAIN = {"text", "mermaid"}
#: what an overlay in the documentation lies over: every model under its registered name
EVERYTHING = {
    "retrievers": {
        name: {} for name in ("ease", "item_transition", "item_knn", "popularity", "dense")
    },
    "rankers": {"bert": {}, "gpt": {}},
}


class Page:
    """Evaluates the blocks of one page, in their order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed = ""
        self.python = PythonEvaluator()
        self.doctests = DocTestEvaluator(FLAGS)

    def parse(self, document: Document) -> Iterable[Region]:
        for region in FencedCodeBlockLexer(r"[^\n`]+")(document):
            region.parsed = region.lexemes["source"]
            region.evaluator = self.evaluate
            yield region

    def evaluate(self, example: Example) -> str | None:
        language = example.region.lexemes["language"].strip()
        notes = notes_above(example.document.text, example.start)
        where = f"{Path(example.path).name}:{example.line}"
        source = str(example.parsed)
        if language != "output":
            self.nothing_unshown(where)
        if "file" in notes:
            target = self.folder / notes["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source, "utf-8")
            importlib.invalidate_caches()
        if language == "python":
            return self.run_python(example, source) if "file" not in notes else compiled(source)
        if language == "output":
            printed, self.printed = self.printed, ""
            return difference(source, printed)
        if language == "console":
            return self.run_console(source)
        if language == "yaml":
            return self.read_yaml(source, notes, where)
        if language == "sh":
            return "\n".join(complaints(source))
        if language == "toml":
            tomllib.loads(source)
        elif language == "ini":
            configparser.ConfigParser().read_string(source)
        elif language == "json":
            json.loads(source)
        elif language not in PLAIN and not language.startswith("{"):
            return f"unknown language {language!r}"
        return None

    def nothing_unshown(self, where: str) -> None:
        assert not self.printed.strip(), f"{where}: the block before printed\n{self.printed}"

    def run_python(self, example: Example, source: str) -> str | None:
        if source.lstrip().startswith(">>>"):
            return "".join(
                self.doctests(Example(example.document, example.line, 0, region, example.namespace))
                for region in DocTestStringParser(self.doctests)(source, example.path)
            )
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.python(example)
        self.printed = out.getvalue()
        return None

    def run_console(self, source: str) -> str | None:
        for command, shown in sessions(source):
            out = self.run_command(shlex.split(command))
            if shown.strip() and (wrong := difference(shown, out)):
                return f"$ {command}\n{wrong}"
        return None

    def run_command(self, words: list[str]) -> str:
        if words[:4] == ["pip", "install", "-e", "."]:
            pretend_install(self.folder)
            return ""
        if words[0] == "recfusion":
            return run_recfusion(words[1:])
        assert words[0] == "python", f"not run in tests: {words}; make it an `sh` block"
        done = subprocess.run(
            [sys.executable, *words[1:]],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def read_yaml(self, source: str, notes: dict[str, str], where: str) -> str | None:
        kind = notes.get("yaml", "whole")
        path = self.folder / notes.get("file", "block.yaml")
        path.write_text(source, "utf-8")
        try:
            if kind == "overlay":
                EngineConfig.overlay(EngineConfig.from_mapping(EVERYTHING), path)
            elif kind != "other":
                EngineConfig.from_yaml(path)
        except ConfigError as error:
            return None if kind == "wrong" else f"{where}: {error}"
        return f"{where}: this must be refused" if kind == "wrong" else None


def notes_above(text: str, start: int) -> dict[str, str]:
    """The comments directly above a fence, by their first word."""
    notes: dict[str, str] = {}
    for line in reversed(text[:start].rstrip("\n").split("\n")):
        match = COMMENT.fullmatch(line.strip())
        if match is None:
            break
        notes[match[1]] = match[2]
    return notes


def difference(shown: str, printed: str) -> str | None:
    checker = OutputChecker()
    if checker.check_output(shown.strip() + "\n", printed.strip() + "\n", FLAGS):
        return None
    return f"the page shows\n{shown}\nbut this was printed\n{printed}"


def compiled(source: str) -> None:
    compile(source, "<page>", "exec")


def sessions(source: str) -> Iterator[tuple[str, str]]:
    """(command, output shown) of a console block."""
    for part in re.split(r"^\$ ", source, flags=re.MULTILINE)[1:]:
        command, _, shown = part.replace("\\\n", " ").partition("\n")
        yield command, shown


def run_recfusion(words: list[str]) -> str:
    """Standard output; with an exit status of 2 also the error."""
    from fusion.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main(words)
    if end.value.code == 2:
        return out.getvalue() + err.getvalue()
    assert end.value.code in (0, None), err.getvalue()
    return out.getvalue()


def pretend_install(folder: Path) -> None:
    """What an editable install of ``folder`` would let Python see: its name and entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", "utf-8"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")
    importlib.invalidate_caches()
    known.cache_clear()


def complaints(source: str) -> Iterator[str]:
    """What a shell block says that is not so."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    for line in source.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        yield from (
            f"no file {w}" for w in words if w.startswith("configs/") and not (ROOT / w).is_file()
        )
        if words[:1] == ["make"]:
            for target in (word for word in words[1:] if "=" not in word):
                if not re.search(rf"^{target}:", makefile, re.MULTILINE):
                    yield f"no make target {target}"
            for name in (word.partition("=")[0] for word in words if "=" in word):
                if not re.search(rf"^{name}\s*\?=", makefile, re.MULTILINE):
                    yield f"no make variable {name}"
        for extras in re.findall(r"(?:recfusion|\.)\[([\w,]+)\]", line):
            for extra in extras.split(","):
                if extra not in setup["options.extras_require"]:
                    yield f"no extra {extra}"
        if words[:1] == ["python"] and words[1].endswith(".py"):
            yield from script_complaints(words[1:])
        if words[:1] == ["recfusion"]:
            yield from command_complaints(words[1:])


def script_complaints(words: list[str]) -> Iterator[str]:
    script = ROOT / words[0]
    if not script.is_file():
        yield f"no script {words[0]}"
        return
    text = script.read_text("utf-8") + (script.parent / "common.py").read_text("utf-8")
    for word in words[1:]:
        if word.startswith("--") and f'"{word}"' not in text:
            yield f"{words[0]} has no option {word}"


def command_complaints(words: list[str]) -> Iterator[str]:
    from typer.main import get_command

    from fusion.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    if words[0] not in commands:
        yield f"no command recfusion {words[0]}"
        return
    options = {"--help", *(option for p in commands[words[0]].params for option in p.opts)}
    for word in words[1:]:
        if word.startswith("-") and word not in options:
            yield f"recfusion {words[0]} has no option {word}"


@pytest.fixture
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder from which modules can be imported; they are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin and Path(origin).is_relative_to(tmp_path):
            del sys.modules[name]
    known.cache_clear()


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_of_the_page_does_what_it_shows(path: Path, page_folder: Path) -> None:
    page = Page(page_folder)
    document = Document.parse(str(path), SkipParser(), page.parse)
    for example in document.examples():
        with contextlib.suppress(SkipTest):  # told by test_what_is_not_run
            example.evaluate()
    page.nothing_unshown(f"{path.name}, end")


SKIPPED = [
    pytest.param(
        match[1], match[2], id=f"{name_of(path)}:{text[: match.start()].count(chr(10)) + 1}"
    )
    for path in PAGES
    for text in [path.read_text("utf-8")]
    for match in re.finditer(r'<!-- skip: next "(.*)" -->\n```python\n(.*?)```', text, re.DOTALL)
]


@pytest.mark.parametrize(("reason", "source"), SKIPPED)
def test_what_is_not_run(reason: str, source: str) -> None:
    compile(source, "<page>", "exec")
    pytest.skip(reason)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_no_page_is_longer_than_anybody_reads() -> None:
    """A generated page or one edited by a script can grow beyond all measure unnoticed."""
    pages = [*PAGES, *(ROOT / "benchmarks").rglob("*.md")]
    assert {page.name for page in pages if page.stat().st_size > 200_000} == set()


@pytest.mark.parametrize("name", ["configuration.md", "command-line.md"])
def test_the_generated_reference_is_what_the_code_says(name: str) -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "reference_pages.py"))["PAGES"]
    written = (ROOT / "docs" / "reference" / name).read_text("utf-8")
    assert written == pages[name](), "run `make docs` (it writes the page) and commit it"


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = set()
    for page in PAGES:
        for block in re.findall(
            r"^```\{toctree\}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S
        ):
            entries = [line.strip() for line in block.splitlines() if not line.startswith(":")]
            for entry in filter(None, entries):
                listed |= {found.resolve() for found in page.parent.glob(f"{entry}.md")}
    docs = {page for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert docs - listed == {ROOT / "docs" / "index.md"}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=name_of)
def test_the_shipped_configuration_is_valid(path: Path) -> None:
    if "\nretrievers:" in path.read_text("utf-8"):
        EngineConfig.from_yaml(path)
    else:  # one to swap in
        EngineConfig.overlay(EngineConfig.from_yaml(ROOT / "configs" / "quick.yaml"), path)


MODULES = sorted(
    path
    for package in ("fusion", "retrievers", "rankers", "finetuning")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_examples_of_the_module_are_true(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0
