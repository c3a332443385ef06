"""A tree as an SVG picture: one column for each depth, the root on the right.

Every subtree has a band of its own, as high as it needs, so boxes and lines never cross. Nothing
but the file itself is needed: no style sheet, no script, no font (any monospaced one will do; the
widths are counted for the widest).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unicodedata import east_asian_width
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from fusion.drawing import Node

__all__ = ["Box", "layout", "svg"]

FAMILY = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
FONT = 13.0  # px
CHARACTER = 0.62 * FONT  # the widest of the usual monospaced fonts
LINE = 18.0
PADDING = 10.0
GAP = 14.0  # between boxes one above the other
SLOPE = 40.0  # room in which a line may turn
MARGIN = 16.0
LONGEST = 34  # characters of a line before it is broken
COLORS = {"model": "#e8f1fb", "fusion": "#eef6e8", "stage": "#fdf6e3", "step": "#f6eaf6"}


@dataclass(frozen=True)
class Box:
    """A node with its place, in px from the left top.

    Attributes:
        lines: the text, title first.
        label: of the line to its parent.
        parent: the place of the parent in the list of boxes; -1 for the root.
        titles: how many of the lines belong to the title.
    """

    lines: tuple[str, ...]
    titles: int
    kind: str
    label: str
    parent: int
    x: float
    y: float
    width: float
    height: float


@dataclass
class _Item:
    node: Node
    label: str
    parent: int
    depth: int
    lines: tuple[str, ...]
    titles: int
    top: float = 0.0

    @property
    def width(self) -> float:
        return max(map(_cells, self.lines)) * CHARACTER + 2 * PADDING

    @property
    def height(self) -> float:
        return len(self.lines) * LINE + PADDING


def layout(root: Node) -> list[Box]:
    """A box for each node, parents before their children; a node with two parents has two."""
    items: list[_Item] = []
    _place(root, "", -1, 0, MARGIN, items)
    columns = [0.0] * (max(item.depth for item in items) + 1)
    labels = list(columns)
    for item in items:
        columns[item.depth] = max(columns[item.depth], item.width)
        labels[item.depth] = max(labels[item.depth], _cells(item.label) * CHARACTER)
    right = [0.0] * len(columns)  # the right edge of each column
    edge = MARGIN
    for depth in reversed(range(len(columns))):
        right[depth] = edge + columns[depth]
        edge = right[depth] + SLOPE + labels[depth]
    return [
        Box(
            item.lines,
            item.titles,
            item.node.kind,
            item.label,
            item.parent,
            right[item.depth] - item.width,
            item.top,
            item.width,
            item.height,
        )
        for item in items
    ]


def _place(
    node: Node, label: str, parent: int, depth: int, top: float, items: list[_Item]
) -> float:
    """Add ``node`` and all below it, from ``top`` downwards; where the band ends."""
    title = _wrapped(node.title)
    lines = (*title, *(line for note in node.notes for line in _wrapped(note)))
    item = _Item(node, label, parent, depth, lines, len(title))
    own = len(items)
    items.append(item)
    end = top
    for place, (weight, child) in enumerate(node.children):
        end = _place(child, weight, own, depth + 1, end + (GAP if place else 0.0), items)
    spare = item.height - (end - top)
    if spare > 0:  # the box is higher than its children's bands: they go to its middle
        for below in items[own + 1 :]:
            below.top += spare / 2
        end = top + item.height
    item.top = top + (end - top - item.height) / 2
    return end


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, LONGEST) or [""]


def _cells(text: str) -> int:
    """How many character widths ``text`` takes."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def svg(root: Node) -> str:
    """The picture; readable on its own, with a title for those who hear it."""
    boxes = layout(root)
    width = max(box.x + box.width for box in boxes) + MARGIN
    height = max(box.y + box.height for box in boxes) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.1f} {height:.1f}" role="img" aria-labelledby="t d" '
            'font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" '
            f'font-size="{FONT:g}">',
            f'<title id="t">Fusion: {escape(root.title)}</title>',
            f'<desc id="d">{escape("; ".join(_sentences(boxes)))}</desc>',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *(_edge(box, boxes[box.parent]) for box in boxes if box.parent >= 0),
            *(part for box in boxes for part in _shape(box)),
            "</svg>",
        ]
    )


def _sentences(boxes: list[Box]) -> Iterator[str]:
    for at, box in enumerate(boxes):
        children = [" ".join(b.lines[: b.titles]) for b in boxes if b.parent == at]
        if children:
            yield f"{' '.join(box.lines[: box.titles])} from {', '.join(children)}"


def _edge(box: Box, parent: Box) -> str:
    """From the right of ``box``, straight under its label, then over to the left of ``parent``."""
    x, y = box.x + box.width, box.y + box.height / 2
    to_x, to_y = parent.x, parent.y + parent.height / 2
    turn = x + _cells(box.label) * CHARACTER
    turn = max(turn, to_x - SLOPE)
    middle = (turn + to_x) / 2
    path = (
        f'<path d="M{x:.1f} {y:.1f}H{turn:.1f}C{middle:.1f} {y:.1f} {middle:.1f} {to_y:.1f} '
        f'{to_x:.1f} {to_y:.1f}" fill="none" stroke="#667788"/>'
    )
    if not box.label:
        return path
    return (
        f'{path}<text x="{x + 4:.1f}" y="{y - 4:.1f}" font-size="{FONT - 2:g}" fill="#445566">'
        f"{escape(box.label)}</text>"
    )


def _shape(box: Box) -> Iterator[str]:
    radius = box.height / 2 if box.kind == "model" and len(box.lines) < 3 else 6.0
    yield (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{radius:g}" fill="{COLORS[box.kind]}" stroke="#334455"/>'
    )
    for number, line in enumerate(box.lines):
        weight = ' font-weight="bold"' if number < box.titles else ""
        y = box.y + PADDING / 2 + LINE * number + 0.72 * LINE
        yield (
            f'<text x="{box.x + box.width / 2:.1f}" y="{y:.1f}" text-anchor="middle"'
            f'{weight} fill="#112233">{escape(line)}</text>'
        )
