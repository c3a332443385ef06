import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from fusion.data.rows import BadRows, encodable, read_json_lines
from fusion.errors import BadRowError


def read(
    path: Path, content: bytes, rule: Any = "error"
) -> tuple[list[tuple[int, dict[str, Any]]], BadRows]:
    path.write_bytes(content)
    bad = BadRows(rule)
    return list(read_json_lines(path, bad, progress=False)), bad


def test_objects_with_their_lines(tmp_path: Path) -> None:
    content = b'{"a": 1}\n\n{"a": "\xc3\xa9"}'
    want = [(1, {"a": 1}), (3, {"a": "é"})]
    assert read(tmp_path / "x.json", content)[0] == want
    assert read(tmp_path / "x.json.gz", gzip.compress(content))[0] == want


@pytest.mark.parametrize(
    "line", [b'{"a": 1', b"[1]", b"nonsense", b'"text"', b'{"a": "\xe9"}', b"[" * 100_000]
)
def test_a_line_that_is_no_object(tmp_path: Path, line: bytes) -> None:
    content = b'{"a": 1}\n' + line + b'\n{"a": 3}\n'
    with pytest.raises(
        BadRowError, match=r"x\.json, line 2: expected one JSON object, got"
    ) as caught:
        read(tmp_path / "x.json", content)
    assert caught.value.line == 2
    assert len(str(caught.value)) < 500
    good, bad = read(tmp_path / "x.json", content, "skip")
    assert [n for n, _ in good] == [1, 3]
    assert bad.count == 1


@pytest.mark.parametrize("rule", ["error", "skip"])
def test_a_truncated_gzip_says_where(tmp_path: Path, rule: str) -> None:
    lines = [json.dumps({"n": n, "text": str(n * 7919)}) for n in range(5000)]
    packed = gzip.compress("\n".join(lines).encode())
    with pytest.raises(BadRowError, match=r"the whole of a gzip file.*truncated") as caught:
        read(tmp_path / "x.json.gz", packed[: len(packed) // 2], rule)
    assert 1 <= caught.value.line < 5000


def test_a_damaged_gzip(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b'{"a": 1}\n' * 1000))
    packed[-6] ^= 1  # the checksum
    with pytest.raises(BadRowError, match="CRC"):
        read(tmp_path / "x.json.gz", bytes(packed))


def test_encodable() -> None:
    assert encodable("é 日本 😀")
    assert not encodable("\ud83d")
