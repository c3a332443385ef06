"""The tree of models and fusions that a configuration describes, drawn: text, Mermaid or SVG.

The root is what the engine answers with; below each node stands what it is made from. Only settings
that are not the default are shown, and every weight and cutoff.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic_core import to_jsonable_python

from fusion.config import EngineConfig
from fusion.config_components import make, tree_keys
from fusion.drawing_svg import svg
from fusion.errors import ConfigError, explain
from fusion.protocols import Strategy
from fusion.registry import resolve

__all__ = ["FORMS", "Node", "draw", "tree_of"]

FORMS = ("text", "mermaid", "svg")


@dataclass(frozen=True, eq=False)
class Node:
    """One box. A named sub-fusion that is used twice is one node with two parents.

    Attributes:
        title: what it is.
        notes: its settings in words.
        kind: the shape.
        children: what it is made from, in order, each with a label for the line (its weight).
    """

    title: str
    notes: tuple[str, ...] = ()
    kind: Literal["model", "fusion", "stage", "step"] = "fusion"
    children: tuple[tuple[str, Node], ...] = ()


Children = tuple[tuple[str, Node], ...]
Scope = Mapping[str, Callable[[], Node]]


def draw(config: EngineConfig, form: str = "text") -> str:
    """The tree as ``text`` (for a terminal), ``mermaid`` (a flowchart) or ``svg`` (a picture).

    Raises:
        ConfigError: another ``form``.
    """
    forms = {"text": _text, "mermaid": _mermaid, "svg": svg}
    if form not in forms:
        raise ConfigError(explain("draw", f"one of the forms {', '.join(FORMS)}", repr(form)))
    return forms[form](tree_of(config))


def tree_of(config: EngineConfig) -> Node:
    """The tree: the last step after fusion, down to the models."""
    models: dict[str, Callable[[], Node]] = {}
    for role, found in (("retriever", config.retrievers), ("ranker", config.rankers)):
        for name, params in found.items():
            models[name] = cache(lambda role=role, name=name, p=params: _model(role, name, p))
    node = _fusion(config.fusion, models)
    for step in config.after:
        notes = _changed("steps", step.name, step.settings)
        node = Node(f"after: {clean(step.name)}", notes, "step", (("", node),))
    return node


def _model(role: str, name: str, params: Mapping[str, Any]) -> Node:
    kind = params["type"]
    notes = [role if kind == name else f"{role} {clean(kind)}"]
    if role == "retriever" and "n" in params:
        notes.append(f"brings {params['n']}")
    if role == "ranker" and "top" in params:
        notes.append(f"scores the first {params['top']}")
    return Node(name, tuple(notes), "model")


def _fusion(params: Mapping[str, Any], around: Scope, prefix: str = "") -> Node:
    """What a ``fusion:`` mapping says, where the names ``around`` are known."""
    mode = params["mode"]
    below = {
        name: cache(lambda name=name, p=sub: _fusion(p, around, f"{name}: "))
        for name, sub in params.get("fusions", {}).items()
    }
    scope: Scope = {**below, **around}
    if below and params.get("models", ()) is None:
        scope = below
    title = clean(mode)
    notes: tuple[str, ...] = ()
    children: Children = ()
    if mode == "serial":
        children = tuple(("", _stage(i, s, scope)) for i, s in enumerate(params["stages"], 1))
    elif mode == "tuned":
        title = f"tuned by {params['search']}"
        notes = _tuning(params)
        children = (("", _fusion(params["fusion"], scope)),)
    elif mode == "learned":
        title = f"learned: {clean(params['stacker']['name'])}"
        stacker = {key: value for key, value in params["stacker"].items() if key != "name"}
        notes = (*_changed("stackers", params["stacker"]["name"], stacker), *_own(params))
        children = _inputs(params["models"], {}, scope)
    elif mode == "parallel":
        merging, notes = _method(params["method"])
        title = f"parallel: {merging}"
        children = _inputs(params["models"], _weights(params), scope)
    elif mode == "single":
        children = _inputs([params["model"]], {}, scope)
    else:  # a strategy of somebody else's
        notes = _own(params)
        children = _inputs(_asked(params, tuple(scope)), {}, scope)
    if params.get("keep") and "keep" in _tree_keys(mode):
        notes = (*notes, f"keeps {params['keep']}")
    return Node(f"{prefix}{title}", notes, "fusion", children)


def _stage(number: int, stage: Mapping[str, Any], scope: Scope) -> Node:
    passes = (f"passes on {stage['keep']}",) if stage.get("keep") else ()
    if stage.get("fusion"):
        inside = _fusion(stage["fusion"], scope)
        title = f"stage {number}: {inside.title}"
        return Node(title, (*inside.notes, *passes), "stage", inside.children)
    merging, notes = _method(stage["method"])
    children = _inputs(stage["models"], _weights(stage), scope)
    return Node(f"stage {number}: {merging}", (*notes, *passes), "stage", children)


def _inputs(names: list[str] | None, weights: Mapping[str, float], scope: Scope) -> Children:
    labels = {name: f"weight {weight:g}" for name, weight in weights.items()}
    return tuple(
        (labels.get(name, ""), scope[name]()) for name in (scope if names is None else names)
    )


def _weights(params: Mapping[str, Any]) -> Mapping[str, float]:
    found: Mapping[str, float] = params["weights"] or params["method"]["weights"]
    return found


def _method(spec: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """``weighted_sum/min_max``, and the settings in words."""
    own = {key: value for key, value in spec.items() if key not in ("name", "weights")}
    merging = clean(spec["name"])
    scale = own.pop("normalization", None)
    if isinstance(scale, Mapping) and "name" in scale:
        merging += f"/{clean(scale['name'])}"
        more = {key: value for key, value in scale.items() if key != "name"}
        return merging, (
            *_changed("methods", spec["name"], own),
            *_changed("normalizations", scale["name"], more),
        )
    return merging, _changed("methods", spec["name"], own)


def _tuning(params: Mapping[str, Any]) -> tuple[str, ...]:
    space = tuple(clean(path) for path in params["space"])
    notes = ("weights",) if params["weights"] else ()
    return (*notes, *space, f"for {clean(params['metric'])}")


def _own(params: Mapping[str, Any]) -> tuple[str, ...]:
    known = {"mode", "models", "stacker", *_tree_keys(params["mode"])}
    rest = {key: value for key, value in params.items() if key not in known}
    return _changed("strategies", params["mode"], rest)


def _tree_keys(mode: str) -> tuple[str, ...]:
    return tree_keys(resolve("strategies", mode).Config)


def _asked(params: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    own = {k: v for k, v in params.items() if k not in _tree_keys(params["mode"])}
    strategy = make("fusion", params["mode"], own)
    return list(strategy.uses(names)) if isinstance(strategy, Strategy) else []


def _changed(group: str, name: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings that are not the component's default, in words."""
    fields = resolve(group, name).Config.model_fields
    out = []
    for key, value in settings.items():
        default = fields[key].get_default(call_default_factory=True) if key in fields else None
        default = to_jsonable_python(default, fallback=str)
        if value == default:
            continue
        shown = value
        if isinstance(default, dict) and isinstance(value, Mapping):
            shown = {k: v for k, v in value.items() if k not in default or v != default[k]}
        out.append(clean(f"{key}: {_words(shown)}"))
    return tuple(out)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def clean(text: str) -> str:
    """``text`` without what would move a cursor or is no character of XML."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _text(root: Node) -> str:
    return "\n".join(_lines(root, "", set()))


def _lines(node: Node, label: str, seen: set[Node]) -> Iterator[str]:
    again = bool(node.children) and node in seen
    seen.add(node)
    notes = ("see above",) if again else node.notes
    shown = f"{node.title} ({'; '.join(notes)})" if notes else node.title
    yield f"{label}, {shown}" if label else shown
    children = () if again else node.children
    for place, (weight, child) in enumerate(children, 1):
        last = place == len(children)
        first, *others = _lines(child, weight, seen)
        yield ("└─ " if last else "├─ ") + first
        for line in others:
            yield ("   " if last else "│  ") + line


_SHAPES = {
    "model": ('(["', '"])'),
    "fusion": ('["', '"]'),
    "stage": ('["', '"]'),
    "step": ('{{"', '"}}'),
}


def _mermaid(root: Node) -> str:
    """Lines run from what a fusion is made from to the fusion; a node drawn once is one node."""
    ids: dict[Node, str] = {}
    lines = ["flowchart LR"]

    def visit(node: Node) -> str:
        if node in ids:
            return ids[node]
        ids[node] = own = f"n{len(ids)}"
        left, right = _SHAPES[node.kind]
        words = "<br/>".join(map(_quoted, (node.title, *node.notes)))
        lines.append(f"    {own}{left}{words}{right}")
        for label, child in node.children:
            arrow = f'-->|"{_quoted(label)}"|' if label else "-->"
            lines.append(f"    {visit(child)} {arrow} {own}")
        return own

    visit(root)
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Entity codes for everything but plain letters, digits and harmless signs."""
    return re.sub(r"[^\w .,:/+×-]", lambda found: f"#{ord(found[0])};", text)
