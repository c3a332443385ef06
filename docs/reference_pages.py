"""Writes the reference pages that are made from the code: configuration and command line.

``make docs`` runs it (through ``conf.py``), and ``tests/test_docs.py`` fails where a page in the
repository is not what it would write. By hand: ``python docs/reference_pages.py``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/reference_pages.py from the code: change the code, not this page. -->"
#: what pydantic cannot say of the sections whose members are plug-ins
OPEN_SECTIONS = {
    "retrievers": "mapping, name to [retriever](#retrievers)",
    "rankers": "mapping, name to [ranker](#rankers)",
    "fusion": "[fusion](#fusion)",
    "fusions": "mapping, name to [fusion](#fusion)",
    "data": "[data](#data) or null",
    "after": "list of [steps](#after)",
    "tournament": "[tournament](#tournament) or null",
}
#: defaults that are made by a function, which a schema does not show
OPEN_DEFAULTS = {
    "rankers": "`{}`",
    "fusions": "`{}`",
    "fusion": "`{mode: parallel}`",
    "stacking": "its defaults",
    "evaluation": "its defaults",
    "serving": "its defaults",
}


def configuration() -> str:
    """The page of every YAML key."""
    from fusion.config import EngineConfig, EvaluationConfig, StackingConfig
    from fusion.config_serving import ServingConfig
    from fusion.config_tournament import TournamentConfig
    from fusion.data.load import AmazonData, MovielensData, TablesData
    from fusion.registry import known, resolve

    out = [
        NOTE,
        "# Configuration",
        "Every key of the YAML with its type, its default and its meaning. Unknown keys are "
        "refused. A key written as `a.b` is `b` inside the mapping `a`. In text, `${NAME}` and "
        "`${NAME:-default}` are environment variables and `$${` is `${`. "
        "`recfusion schema` prints the same as a JSON Schema for editors.",
        "## Top level",
        *table(EngineConfig, sections=True),
        "## stacking",
        doc(StackingConfig),
        *table(StackingConfig),
        "## evaluation",
        doc(EvaluationConfig),
        *table(EvaluationConfig, sections=True),
        "## serving",
        doc(ServingConfig),
        *table(ServingConfig, sections=True),
        "## tournament",
        doc(TournamentConfig),
        *table(TournamentConfig, sections=True),
        "## data",
        "Where the data lies; `source` says which other keys there are. Relative paths start from "
        "the folder of the YAML file.",
    ]
    sources: dict[str, type[BaseModel]] = {
        "movielens": MovielensData,
        "amazon": AmazonData,
        "tables": TablesData,
    }
    for source, model in sources.items():
        out += [f"### data: {source}", *table(model)]
    groups = (
        (
            "retrievers",
            "retrievers",
            "The key is the model's name. `type` says what it is: a registered name (below) or "
            "`module:Class`; left out, it is the key itself.",
        ),
        ("rankers", "rankers", "Named like retrievers."),
        (
            "fusion",
            "strategies",
            "`mode` says which strategy; left out, it is `parallel`. `module:Class` works too. "
            "Any fusion may also have `fusions` (mapping, name to fusion: fusions below it, which "
            "it knows as models) and `keep` (only so many best candidates of a query stay).",
        ),
        (
            "methods",
            "methods",
            "In `method:` of `parallel` and of each stage of `serial`: a name, or a mapping of "
            "`name`, `weights` (model to number, at least 0) and the keys below.",
        ),
        (
            "normalizations",
            "normalizations",
            "In `normalization:` of a method: a name, or a mapping of `name` and the keys below.",
        ),
        (
            "stackers",
            "stackers",
            "In `stacker:` of `learned`: a name, or a mapping of `name` and the keys below.",
        ),
        (
            "after",
            "steps",
            "A list, applied in its order: each a name, or a mapping of `name` and the keys below.",
        ),
    )
    for title, group, text in groups:
        out += [f"## {title}", text]
        for name in sorted(known(group)):
            component = resolve(group, name)
            out += [f"### {title}: {name}", doc(component), *table(component.Config)]
    return "\n\n".join(out) + "\n"


def command_line() -> str:
    """The page of every command."""
    from typer.main import get_command

    from fusion.cli import app

    main = get_command(app)
    out = [
        NOTE,
        "# Command line",
        f"`recfusion`: {main.help} Results go to standard output, progress to standard error. "
        "Exit status 2 means a mistake that you can mend, told in one line; `RECFUSION_DEBUG=1` "
        "shows the traceback as well. `recfusion --version` prints the version.",
    ]
    for name, command in main.commands.items():  # type: ignore[attr-defined]
        rows = []
        for parameter in command.params:
            positional = not parameter.opts[0].startswith("-")
            shown = parameter.metavar if positional else ", ".join(parameter.opts)
            if not positional and not getattr(parameter, "is_flag", False):
                shown += f" {parameter.metavar or 'VALUE'}"
            required = "required" if parameter.required else ""
            default = parameter.default if isinstance(parameter.default, int | str) else None
            known = "" if default in (None, False) else f"`{default}`"
            rows.append((f"`{shown}`", required or known, parameter.help or ""))
        out += [f"## recfusion {name}", str(command.help)]
        out += ["\n".join(markdown(("", "default", "meaning"), rows))] if rows else []
    return "\n\n".join(out) + "\n"


def doc(item: type[Any]) -> str:
    """The first paragraph of a docstring, as Markdown."""
    text = inspect.getdoc(item) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`")


def table(model: type[BaseModel], *, sections: bool = False) -> list[str]:
    """One row a key, nested mappings flattened; nothing where there is no key."""
    schema = model.model_json_schema()
    rows = list(rows_of(schema, schema.get("$defs", {}), "", sections))
    if not rows:
        return ["No keys of its own."]
    return ["\n".join(markdown(("key", "type", "default", "meaning"), rows))]


def rows_of(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str, sections: bool
) -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default and meaning of each property, recursively."""
    required = schema.get("required", ())
    for name, about in schema.get("properties", {}).items():
        key = f"{prefix}{name}"
        inner = nested(about, definitions)
        if inner is not None and not sections:
            yield from rows_of(inner, definitions, f"{key}.", sections)
            continue
        kind = OPEN_SECTIONS.get(name) if sections else None
        if sections and inner is not None:
            kind = f"[{name}](#{name})"
        items = inner_items(about, definitions)
        kind = kind or ("list of mappings" if items else words(about, definitions))
        default = "required" if name in required else shown(about) or OPEN_DEFAULTS.get(name, "")
        if not default and kind == "mapping":
            default = "`{}`"
        yield f"`{key}`", kind, default, cell(about.get("description", ""))
        if items:
            yield from rows_of(items, definitions, f"{key}[].", sections)


def nested(about: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of a mapping with keys of its own, also where it may be null."""
    for option in (about, *about.get("anyOf", ()), *about.get("allOf", ())):
        target = definitions.get(str(option.get("$ref", "")).rpartition("/")[2])
        if target and "properties" in target and not target.get("additionalProperties"):
            others = [
                o for o in about.get("anyOf", ()) if o is not option and o.get("type") != "null"
            ]
            return None if others else target
    return None


def inner_items(
    about: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The schema of a list's members, where they are mappings with keys of their own."""
    return nested(about["items"], definitions) if isinstance(about.get("items"), dict) else None


def words(about: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A type in words."""
    if "$ref" in about:
        return words(definitions[about["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in about:
        kinds = [words(option, definitions) for option in about["anyOf"]]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    kind = about.get("type", "any")
    if kind == "array":
        item = about.get("items")
        return f"list of {words(item, definitions)}" if isinstance(item, dict) else "list"
    plain = {
        "string": "text",
        "integer": "integer",
        "number": "number",
        "boolean": "true or false",
        "object": "mapping",
        "null": "null",
    }
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {about[key]:g}" for key, sign in signs.items() if key in about]
    return " ".join([plain.get(kind, kind), ", ".join(limits)]).strip()


def shown(about: Mapping[str, Any]) -> str:
    """A default as the YAML would write it."""
    if "default" not in about:
        return ""
    return f"`{json.dumps(about['default'], ensure_ascii=False)}`"


def cell(text: str) -> str:
    """Text that stays inside one cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")


def markdown(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A table."""
    for line in (header, ("---",) * len(header), *rows):
        yield "| " + " | ".join(line) + " |"


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "command-line.md": command_line,
}


def write() -> None:
    """Write every page that differs."""
    for name, page in PAGES.items():
        text = page()
        path = FOLDER / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    write()
