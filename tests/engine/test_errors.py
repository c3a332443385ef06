from __future__ import annotations

import re

import pytest

import fusion.errors as errors
from fusion.errors import RecfusionError, explain

CLASSES = [
    getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)
]


def drawn() -> dict[str, str]:
    """Child -> parent, as the tree at the top of the module shows them."""
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+Error)\b", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        above = [*above[:depth], match[2]]
        if depth:
            parents[match[2]] = above[depth - 1]
    return parents


def test_the_drawn_tree_is_the_real_one() -> None:
    real = {cls.__name__: cls.__mro__[1].__name__ for cls in CLASSES if cls is not RecfusionError}
    assert drawn() == real


@pytest.mark.parametrize("cls", CLASSES)
def test_one_root_catches_everything(cls: type[Exception]) -> None:
    with pytest.raises(RecfusionError, match="said"):
        raise cls("said")


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigError", ValueError),
        ("DataError", ValueError),
        ("MissingDataError", FileNotFoundError),
        ("UnknownUserError", KeyError),
        ("UnknownItemError", KeyError),
        ("ArtifactError", OSError),
        ("DependencyError", ImportError),
    ],
)
def test_each_is_also_what_python_would_raise(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_message_is_shown_as_it_was_written(cls: type[Exception]) -> None:
    assert str(cls("expected 'a', got 'b'")) == "expected 'a', got 'b'"  # KeyError would quote it


def test_explain_has_one_shape() -> None:
    assert explain("EASE", "reg above 0", "-1") == "EASE: expected reg above 0, got -1"
    assert explain("EASE", "reg above 0", "-1", "drop it").endswith(", got -1; drop it")
