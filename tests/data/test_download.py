import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fusion.data.download import Remote, fetch, missing, unpack
from fusion.errors import DataError, MissingDataError

BODY = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Site:
    """What the server has, how it behaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tag: str = '"one"'
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Silent."""

        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            asked = self.headers.get("Range")
            state.asked.append((name, asked))
            body = state.files.get(name)
            if body is None:
                self.send_error(404)
                return
            start = 0
            if asked and state.ranges and self.headers.get("If-Range") == state.tag:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            end = start + state.break_after.pop(0) if state.break_after else len(body)
            self.wfile.write(body[start:end])
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    state.files["data.zip"] = BODY
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def remote(site: Site, known_hash: str = "", hash_name: str = "") -> Remote:
    return Remote(
        f"{site.url}/data.zip", known_hash, f"{site.url}/{hash_name}" if hash_name else ""
    )


def get(site: Site, folder: Path, **options: str) -> Path:
    return fetch(remote(site, **options), folder, progress=False)


MD5, SHA = hashlib.md5(BODY).hexdigest(), hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("known", [f"md5:{MD5}", f"sha256:{SHA}"])
def test_downloaded_once(site: Site, tmp_path: Path, known: str) -> None:
    for _ in range(2):
        assert get(site, tmp_path, known_hash=known).read_bytes() == BODY
    assert site.asked == [("data.zip", None)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.zip"]


def test_a_wrong_checksum_keeps_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data.zip: expected checksum md5:{'0' * 32}"):
        get(site, tmp_path, known_hash=f"md5:{'0' * 32}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [f"MD5 (data.zip) = {MD5}\n", f"{MD5.upper()}  data.zip\n"])
def test_the_publishers_own_checksum_file(site: Site, tmp_path: Path, text: str) -> None:
    site.files["data.zip.md5"] = text.encode()
    assert get(site, tmp_path, hash_name="data.zip.md5").read_bytes() == BODY
    site.files["data.zip.md5"] = text.lower().replace(MD5, "0" * 32).encode()
    with pytest.raises(DataError, match="checksum"):
        get(site, tmp_path / "other", hash_name="data.zip.md5")


def test_without_any_checksum_the_first_download_is_remembered(site: Site, tmp_path: Path) -> None:
    path = get(site, tmp_path, hash_name="absent.md5")
    assert (tmp_path / "data.zip.sha256").read_text() == SHA
    path.write_bytes(BODY[:-1])  # damaged on disk: found, and downloaded again
    assert get(site, tmp_path).read_bytes() == BODY
    path.write_bytes(BODY[:-1])
    with pytest.raises(DataError, match="delete it"):
        fetch(remote(site), tmp_path, offline=True)


def test_a_broken_line_is_taken_up_where_it_broke(site: Site, tmp_path: Path) -> None:
    site.break_after = [300_000, 200_000]
    assert get(site, tmp_path, known_hash=f"md5:{MD5}").read_bytes() == BODY
    asked = [r for _, r in site.asked]
    starts = [int((r or "bytes=0-").removeprefix("bytes=").rstrip("-")) for r in asked]
    assert len(starts) == 3
    assert starts[0] == 0 < starts[1] <= 300_000 < starts[2] <= 500_000


def test_a_later_call_goes_on_where_an_earlier_one_stopped(site: Site, tmp_path: Path) -> None:
    site.break_after = [300_000, 0]  # breaks, and then nothing more comes
    with pytest.raises(MissingDataError, match=r"to download http.*bytes are kept"):
        get(site, tmp_path, known_hash=f"md5:{MD5}")
    have = (tmp_path / "data.zip.part").stat().st_size
    assert 0 < have <= 300_000
    assert get(site, tmp_path, known_hash=f"md5:{MD5}").read_bytes() == BODY
    assert site.asked[-1] == ("data.zip", f"bytes={have}-")
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.zip"]


@pytest.mark.parametrize("change", ["another file", "no ranges", "no tag", "part too long"])
def test_what_cannot_be_resumed_starts_anew(site: Site, tmp_path: Path, change: str) -> None:
    site.break_after = [300_000, 0]
    with pytest.raises(MissingDataError):
        get(site, tmp_path)
    if change == "another file":
        site.files["data.zip"], site.tag = BODY[::-1], '"two"'
    elif change == "no ranges":
        site.ranges = False
    elif change == "no tag":
        (tmp_path / "data.zip.part.tag").unlink()
    else:
        (tmp_path / "data.zip.part").write_bytes(BODY + b"more")
    assert get(site, tmp_path).read_bytes() == site.files["data.zip"]


def test_offline_and_unreachable(site: Site, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"data\.zip in .*an empty folder; download http"):
        fetch(remote(site), tmp_path, offline=True)
    assert site.asked == []
    with pytest.raises(MissingDataError, match=r"404"):
        fetch(Remote(f"{site.url}/absent.zip"), tmp_path, progress=False)
    with pytest.raises(MissingDataError, match=r"download it elsewhere and give its folder"):
        fetch(Remote("http://127.0.0.1:9/x.zip"), tmp_path, progress=False)


def test_a_bar_is_shown(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.files["data.zip"] = BODY * 2
    fetch(remote(site), tmp_path)
    shown = capsys.readouterr()
    assert "download data.zip" in shown.err
    assert shown.out == ""


def test_missing_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "README").touch()
    text = str(missing("ml-1m", tmp_path, ["ratings.dat"], "https://x.org/ml-1m.zip"))
    assert text.startswith(f"ml-1m: expected ratings.dat in {tmp_path}, got a folder with README; ")
    assert "https://x.org/ml-1m.zip" in text
    assert "no such folder" in str(missing("ml-1m", tmp_path / "no", ["a", "b"], ""))


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, body in files.items():
            packed.writestr(f"ml/{name}", body)
    return path


def test_unpack_takes_all_or_nothing(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", a=b"1", b=b"2", c=b"3")
    folder = unpack(path, ["a", "b"], tmp_path / "out")
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == {"a": b"1", "b": b"2"}
    with pytest.raises(DataError, match=r"a member zz, got \['a', 'b', 'c'\]"):
        unpack(path, ["a", "zz"], tmp_path / "other")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zip", "out"]


def test_a_damaged_archive(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as packed:
        packed.writestr("ml/a", b"some text " * 100)
    (tmp_path / "a.zip").write_bytes(whole.getvalue()[:200])
    with pytest.raises(DataError, match="a whole zip file"):
        unpack(tmp_path / "a.zip", ["a"], tmp_path / "out")
    flipped = whole.getvalue().replace(b"some text some", b"some test some", 1)
    (tmp_path / "a.zip").write_bytes(flipped)
    with pytest.raises(DataError, match="CRC"):
        unpack(tmp_path / "a.zip", ["a"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
