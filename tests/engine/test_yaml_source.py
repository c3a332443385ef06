from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.compat import StringIO

from fusion.yaml_source import read_yaml


def value_of(text: str, **environment: str) -> Any:
    source = read_yaml(text, environment)
    assert source.faults == []
    return source.value


def faults_of(text: str, **environment: str) -> list[str]:
    source = read_yaml(text, environment)
    out = []
    for fault in source.faults:
        line, column = source.positions.find(fault) or (0, 0)
        path = ".".join(map(str, fault.path))
        out.append(f"{line}:{column} {path}: {fault.message}")
    return out


def test_yaml_1_2_scalars() -> None:
    text = "{a: 1e-4, b: 010, c: no, d: ~, e: .5, f: '1', g: true, h: 2020-01-01, i: [x]}"
    assert value_of(text) == {
        "a": 0.0001,
        "b": 10,
        "c": "no",
        "d": None,
        "e": 0.5,
        "f": "1",
        "g": True,
        "h": "2020-01-01",
        "i": ["x"],
    }


def test_keys_are_text() -> None:
    assert value_of("1: a\ntrue: b\n") == {"1": "a", "true": "b"}


def test_positions_of_keys_and_values() -> None:
    positions = read_yaml("a:\n  b: [1,\n    2]\n").positions
    assert positions.keys == {("a",): (1, 1), ("a", "b"): (2, 3)}
    assert positions.values[("a", "b", 1)] == (3, 5)
    assert positions.values[("a", "b")] == (2, 6)


def test_anchors_and_merges() -> None:
    text = "base: &base {n: 5, reg: 1}\nmine: {<<: *base, n: 7}\nlist: {<<: [{a: 1}, {a: 2, b: 3}]}"
    found = value_of(text)
    assert found["mine"] == {"n": 7, "reg": 1}
    assert found["list"] == {"a": 1, "b": 3}


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab \n:#-{$", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_reads_what_ruamel_writes(value: Any) -> None:
    out = StringIO()
    YAML(typ="safe", pure=True).dump({"value": value}, out)
    try:
        YAML(typ="safe", pure=True).load(out.getvalue())
    except YAMLError:  # it writes {a: :a}, and cannot read that itself
        return
    if "${" not in out.getvalue():
        assert value_of(out.getvalue()) == {"value": value}


class TestInterpolation:
    def test_inside_text(self) -> None:
        assert value_of("a: ${HOME_}/data/${N:-x}", HOME_="/h") == {"a": "/h/data/x"}

    def test_a_whole_value_is_read_as_yaml(self) -> None:
        text = "a: ${A}\nb: ${B:-0.5}\nc: ${C:-true}\nd: ${D:-null}\ne: ${E:-x}"
        assert value_of(text, A="7") == {"a": 7, "b": 0.5, "c": True, "d": None, "e": "x"}

    def test_a_quoted_value_stays_text(self) -> None:
        assert value_of("a: '${A}'\nb: \"${A}\"", A="7") == {"a": "7", "b": "7"}

    def test_what_comes_out_cannot_add_structure(self) -> None:
        assert value_of("a: ${A}", A="{b: !!python/name:os.system x}") == {
            "a": "{b: !!python/name:os.system x}"
        }
        assert value_of("a: ${A}", A="${B}", B="secret") == {"a": "${B}"}

    def test_the_default_holds_for_unset_and_empty(self) -> None:
        assert value_of("a: ${A:-1}", A="") == {"a": 1}
        assert value_of("a: ${A:-1}") == {"a": 1}
        assert value_of("a: '${A}'", A="") == {"a": ""}

    def test_the_reference_can_be_escaped(self) -> None:
        assert value_of("a: $${A}\nb: $A\nc: '{title}. {text}'", A="1") == {
            "a": "${A}",
            "b": "$A",
            "c": "{title}. {text}",
        }

    def test_unset_is_a_fault_at_its_place(self) -> None:
        assert faults_of("a: 1\nb: [x, '${NOPE}']\nc: ${ALSO}") == [
            "2:8 b.1: expected the environment variable NOPE to be set, got nothing; "
            "set it, or write ${NOPE:-default}",
            "3:4 c: expected the environment variable ALSO to be set, got nothing; "
            "set it, or write ${ALSO:-default}",
        ]

    def test_the_environment_of_the_process_is_the_default(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RECFUSION_TEST_N", "12")
        assert read_yaml("n: ${RECFUSION_TEST_N}").value == {"n": 12}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "0:0 : expected a mapping, got an empty document"),
        ("# only a comment\n", "0:0 : expected a mapping, got an empty document"),
        ("a: 1\nb:\n\t- 2", "3:1 : expected valid YAML, got while scanning"),
        ("a: [1, 2", "1:9 : expected valid YAML"),
        ("a: b: c", "1:5 : expected valid YAML, got mapping values are not allowed here"),
        ("a: *nobody", "1:4 : expected valid YAML, got found undefined alias"),
        ("a: 1\n---\nb: 2", "2:1 : expected valid YAML"),
        ("a: \x00", "0:0 : expected valid YAML"),
        ("a: 1\nb: 2\na: 3", "1:1 a: expected each key once, got 'a' again at 3:1"),
        ("a: !!python/object/apply:os.system ['true']", "1:4 a: expected plain YAML without tags"),
        ("a: !mine {b: 1}", "1:4 a: expected plain YAML without tags, got the tag '!mine'"),
        ("a: !!set {b}", "1:4 a: expected plain YAML without tags"),
        ("? [1, 2]\n: 3", "1:1 : expected keys of plain text"),
        ("a: {<<: 3}", "1:4 a: expected a mapping after '<<'"),
    ],
)
def test_what_is_wrong_with_the_text(text: str, fault: str) -> None:
    found = faults_of(text)
    assert len(found) == 1
    assert found[0].startswith(fault)


def test_tabs_are_named() -> None:
    assert "indent with spaces" in faults_of("a:\n\tb: 1")[0]


def test_a_bare_reference_inside_braces_is_named() -> None:
    (fault,) = faults_of("a: {b: ${N}, c: 1}")
    assert fault.startswith("1:9 : expected valid YAML")
    assert "one key a line" in fault


def test_every_fault_is_told() -> None:
    assert len(faults_of("a: !x 1\nb: ${NOPE}\nb: 2\nc: [!y 3]")) == 4


LAUGHS = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "once its aliases are expanded"),
        ("[" * 5000, "recursion"),
        ("a: &a [*a]", "recursion"),
    ],
    ids=["a billion laughs", "deep", "a loop"],
)
def test_an_attack_is_a_fault(text: str, why: str) -> None:
    (fault,) = faults_of(text)
    assert "expected valid YAML" in fault
    assert why in fault
