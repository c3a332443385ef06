from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import fusion.atomic
from fusion._version import FORMAT_VERSION
from fusion.artifacts import write_arrays, write_json
from fusion.errors import ArtifactError, CorruptArtifactError, VersionError
from fusion.persistence import DIGEST, MANIFEST, check_target, open_folder, save_folder


def files_writer(**contents: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name, content in contents.items():
            (folder / name).write_bytes(content)

    return write


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A saved folder with files at two depths."""

    def write(folder: Path) -> None:
        (folder / "a.bin").write_bytes(b"0123456789")
        (folder / "models" / "ease").mkdir(parents=True)
        (folder / "models" / "ease" / "b.bin").write_bytes(b"abc")

    save_folder(tmp_path / "engine", write, meta={"kind": "test"})
    return tmp_path / "engine"


def test_what_was_saved_comes_back(engine: Path) -> None:
    assert open_folder(engine) == {"kind": "test"}
    assert (engine / "models" / "ease" / "b.bin").read_bytes() == b"abc"
    assert leftovers(engine.parent) == []


def test_what_is_told_with_it_keeps_its_order(tmp_path: Path) -> None:
    meta = {"z": {"b": 1, "a": 2}, "a": 0}  # the order of an engine's models is one of these
    save_folder(tmp_path / "engine", files_writer(a=b""), meta=meta)
    found = open_folder(tmp_path / "engine")
    assert json.dumps(found) == json.dumps(meta)


def test_the_manifest_lists_size_and_digest_of_every_file(engine: Path) -> None:
    manifest = json.loads((engine / MANIFEST).read_text())
    assert manifest["format"] == FORMAT_VERSION
    assert manifest["files"] == {
        "a.bin": {"size": 10, "sha256": sha256(b"0123456789").hexdigest()},
        "models/ease/b.bin": {"size": 3, "sha256": sha256(b"abc").hexdigest()},
    }


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_digest_is_as_sha256sum_reads_it(engine: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", DIGEST], cwd=engine, check=True)


def test_an_old_engine_is_replaced_whole(engine: Path) -> None:
    save_folder(engine, files_writer(new=b"1"), meta={"kind": "new"})
    assert open_folder(engine) == {"kind": "new"}
    assert sorted(p.name for p in engine.iterdir()) == [MANIFEST, DIGEST, "new"]
    assert leftovers(engine.parent) == []


def test_an_old_engine_is_replaced_where_names_cannot_be_exchanged(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fusion.atomic, "_exchange", lambda one, other: False)
    save_folder(engine, files_writer(new=b"1"), meta={"kind": "new"})
    assert open_folder(engine) == {"kind": "new"}
    assert leftovers(engine.parent) == []


def test_missing_parents_are_made_and_an_empty_folder_is_taken(tmp_path: Path) -> None:
    save_folder(tmp_path / "x" / "y", files_writer(a=b""), meta={})
    assert open_folder(tmp_path / "x" / "y") == {}
    (tmp_path / "empty").mkdir()
    save_folder(tmp_path / "empty", files_writer(a=b""), meta={})
    assert open_folder(tmp_path / "empty") == {}


def test_the_folder_has_the_permissions_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    save_folder(tmp_path / "engine", files_writer(a=b""), meta={})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "engine")]
    assert modes[0] == modes[1]


def test_a_relative_path_is_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_folder(Path("engine"), files_writer(a=b"1"), meta={})
    save_folder(Path("engine"), files_writer(a=b"2"), meta={})
    assert open_folder(Path("engine")) == {}


class TestRefusesToOverwrite:
    def refuses(self, path: Path) -> None:
        for ask in (lambda: check_target(path), lambda: save_folder(path, _never, meta={})):
            with pytest.raises(ArtifactError, match="remove it yourself"):
                ask()

    def test_a_folder_that_is_no_engine(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        self.refuses(tmp_path)
        assert (tmp_path / "thesis.txt").read_text() == "years of work"

    def test_an_engine_with_a_file_of_somebody_else(self, engine: Path) -> None:
        (engine / "notes.txt").write_text("mine")
        self.refuses(engine)
        assert (engine / "notes.txt").read_text() == "mine"

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "engine").write_text("mine")
        self.refuses(tmp_path / "engine")

    def test_a_link(self, engine: Path) -> None:
        (engine.parent / "link").symlink_to(engine)
        self.refuses(engine.parent / "link")
        assert open_folder(engine.parent / "link") == {"kind": "test"}  # reading through it is fine

    @pytest.mark.parametrize("name", ["a.bin", MANIFEST, DIGEST])
    @pytest.mark.parametrize("content", [b"", b"{}"])
    def test_but_takes_an_engine_whose_files_are_damaged(
        self, engine: Path, name: str, content: bytes
    ) -> None:
        (engine / name).write_bytes(content)
        save_folder(engine, files_writer(new=b"1"), meta={})
        assert open_folder(engine) == {}


def _never(folder: Path) -> None:
    raise AssertionError("must be refused before anything is written")


def test_a_writer_that_fails_leaves_the_old_engine(engine: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_bytes(b"1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_folder(engine, write, meta={})
    assert open_folder(engine) == {"kind": "test"}
    assert leftovers(engine.parent) == []


def test_a_full_disk_is_an_error_of_the_project(engine: Path) -> None:
    def write(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match="No space left"):
        save_folder(engine, write, meta={})
    assert open_folder(engine) == {"kind": "test"}


def test_what_another_process_is_writing_is_left_alone(engine: Path) -> None:
    code = """
import sys
from pathlib import Path
from fusion.persistence import save_folder

def write(folder):
    (folder / "a").write_bytes(b"other")
    print("writing", flush=True)
    sys.stdin.readline()

save_folder(Path(sys.argv[1]), write, meta={"kind": "other"})
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, engine],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "writing\n"
        save_folder(engine, files_writer(a=b"mine"), meta={"kind": "mine"})
        assert open_folder(engine) == {"kind": "mine"}
        assert len(leftovers(engine.parent)) == 1  # the other's
        other.communicate("\n")
    assert other.returncode == 0
    assert open_folder(engine) == {"kind": "other"}
    assert leftovers(engine.parent) == []


def test_without_locks_saving_works_and_clears_nothing(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = engine.with_name(".engine.saving-0000")
    left.mkdir()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fcntl", None)  # as on Windows
        save_folder(engine, files_writer(new=b"1"), meta={"kind": "new"})
        assert left.exists()
    assert open_folder(engine) == {"kind": "new"}
    save_folder(engine, files_writer(new=b"1"), meta={"kind": "new"})
    assert leftovers(engine.parent) == []


def test_a_link_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="link"):
        save_folder(tmp_path / "engine", lambda f: (f / "a").symlink_to("/etc/hostname"), meta={})
    assert not (tmp_path / "engine").exists()


class TestOpenRefuses:
    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="got nothing") as caught:
            open_folder(tmp_path / "engine")
        assert not isinstance(caught.value, CorruptArtifactError)

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "engine").write_text("")
        with pytest.raises(ArtifactError, match="got a file"):
            open_folder(tmp_path / "engine")

    @pytest.mark.parametrize("name", ["a.bin", "models/ease/b.bin", MANIFEST, DIGEST])
    def test_a_missing_file(self, engine: Path, name: str) -> None:
        (engine / name).unlink()
        with pytest.raises(CorruptArtifactError, match=name.rpartition("/")[2]):
            open_folder(engine)

    @pytest.mark.parametrize("name", ["extra", "models/extra", "models/ease/extra"])
    def test_an_extra_file(self, engine: Path, name: str) -> None:
        (engine / name).write_bytes(b"")
        with pytest.raises(CorruptArtifactError, match=r"extra.*manifest lists"):
            open_folder(engine)

    def test_a_longer_file(self, engine: Path) -> None:
        (engine / "a.bin").write_bytes(b"01234567890")
        with pytest.raises(CorruptArtifactError, match=r"a\.bin: expected 10 bytes, got 11"):
            open_folder(engine)

    def test_another_file_of_the_same_size(self, engine: Path) -> None:
        (engine / "a.bin").write_bytes(b"0123456788")
        with pytest.raises(CorruptArtifactError, match=r"a\.bin: expected SHA-256"):
            open_folder(engine)

    def test_a_link_to_an_equal_file(self, engine: Path) -> None:
        shutil.move(engine / "a.bin", engine.parent / "elsewhere")
        (engine / "a.bin").symlink_to(engine.parent / "elsewhere")
        with pytest.raises(CorruptArtifactError, match=r"a\.bin: .*link"):
            open_folder(engine)

    def test_a_link_to_an_equal_folder(self, engine: Path) -> None:
        shutil.move(engine / "models" / "ease", engine.parent / "elsewhere")
        (engine / "models" / "ease").symlink_to(engine.parent / "elsewhere")
        with pytest.raises(CorruptArtifactError, match=r"ease: .*link"):
            open_folder(engine)

    def test_a_pipe(self, engine: Path) -> None:
        (engine / "a.bin").unlink()
        os.mkfifo(engine / "a.bin")
        with pytest.raises(CorruptArtifactError, match=r"a\.bin"):
            open_folder(engine)

    @pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "models/../../outside", ""])
    def test_a_manifest_that_leads_out_of_the_folder(self, engine: Path, name: str) -> None:
        outside = engine.parent / "outside"
        outside.write_bytes(b"secret")
        entry = {"size": 6, "sha256": sha256(b"secret").hexdigest()}
        rewrite(engine, lambda manifest: manifest["files"].__setitem__(name, entry))
        with pytest.raises(CorruptArtifactError, match="got nothing"):
            open_folder(engine)

    @pytest.mark.parametrize(
        "text",
        ["[]", "{}", "null", '{"format": 1}', "{", "[" * 100_000, '{"format": "1", "files": {}}'],
    )
    def test_something_else_in_place_of_a_manifest(self, engine: Path, text: str) -> None:
        (engine / MANIFEST).write_text(text)
        (engine / DIGEST).write_text(f"{sha256(text.encode()).hexdigest()}  {MANIFEST}\n")
        with pytest.raises(CorruptArtifactError, match=MANIFEST):
            open_folder(engine)

    def test_another_format_version(self, engine: Path) -> None:
        def older(manifest: dict[str, object]) -> None:
            manifest["format"], manifest["recfusion"] = FORMAT_VERSION + 6, "9.1"

        rewrite(engine, older)
        with pytest.raises(VersionError) as caught:
            open_folder(engine)
        for part in (f"version {FORMAT_VERSION} ", f"version {FORMAT_VERSION + 6} ", "install"):
            assert part in str(caught.value)


def rewrite(engine: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the manifest and give it the right digest, as an attacker would."""
    manifest = json.loads((engine / MANIFEST).read_text())
    change(manifest)
    text = json.dumps(manifest).encode()
    (engine / MANIFEST).write_bytes(text)
    (engine / DIGEST).write_text(f"{sha256(text).hexdigest()}  {MANIFEST}\n")


def test_no_parser_sees_a_manifest_with_another_digest(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (engine / MANIFEST).write_bytes((engine / MANIFEST).read_bytes() + b" ")
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("parsed"))
    with pytest.raises(CorruptArtifactError):
        open_folder(engine)


# --- damage to every kind of artefact ---------------------------------------------------------


def _safetensors(path: Path) -> None:
    write_arrays(path, {"matrix": np.arange(60, dtype=np.float32).reshape(6, 10)})


def _json(path: Path) -> None:
    write_json(path, {f"key{i}": i / 7 for i in range(30)})


def _lightgbm(path: Path) -> None:
    import lightgbm

    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 2))
    data = lightgbm.Dataset(features, label=features[:, 0] > 0, params={"verbosity": -1})
    params = {"objective": "binary", "num_leaves": 3, "num_threads": 1, "verbosity": -1}
    booster = lightgbm.train(params, data, num_boost_round=2)
    booster.save_model(path)


def _faiss(path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatIP(16)
    index.add(np.eye(16, dtype=np.float32))
    faiss.write_index(index, str(path))


def _parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"user_id": [f"u{i}" for i in range(20)]}), path)


META = {"config": {"retrievers": {"ease": {"reg": 100.0}}}}
KINDS: dict[str, Callable[[Path], None]] = {
    "model.safetensors": _safetensors,
    "config.json": _json,
    "ranker.txt": _lightgbm,
    "items.faiss": _faiss,
    "users.parquet": _parquet,
}
DAMAGES = 200


@pytest.mark.parametrize("name", [*KINDS, MANIFEST, DIGEST])
def test_every_truncation_and_bit_flip_is_one_typed_error(tmp_path: Path, name: str) -> None:
    write = KINDS.get(name, _json)
    folder = tmp_path / "engine"
    save_folder(
        folder,
        lambda target: write(target / (name if name in KINDS else "x")),
        meta=META,
    )
    whole = (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    lengths = rng.choice(len(whole), min(DAMAGES, len(whole)), replace=False)
    bits = rng.choice(8 * len(whole), DAMAGES, replace=False)
    assert len(lengths) == (len(whole) if name == DIGEST else DAMAGES)  # it has 80 bytes
    damaged = [whole[:length] for length in lengths]
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        damaged.append(bytes(flipped))
    for content in damaged:
        assert content != whole
        (folder / name).write_bytes(content)
        with pytest.raises(CorruptArtifactError):
            open_folder(folder)
    (folder / name).write_bytes(whole)
    assert open_folder(folder) == META


# --- processes killed in the middle -----------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
import fusion.atomic
from fusion.errors import ArtifactError
from fusion.persistence import open_folder, save_folder

folder, exchanges, starts_with_old = Path(sys.argv[1]), sys.argv[2] == "1", sys.argv[3] == "1"
if not exchanges:
    fusion.atomic._exchange = lambda one, other: False


def content(version):
    def write(target):
        (target / "deep").mkdir()
        for i in range(2):
            (target / "deep" / f"{version}{i}").write_bytes(version.encode() * 100)
    return write


def child(path, point):
    # dies at the n-th thing that the save asks of the system
    left = point
    def hook(event, arguments):
        nonlocal left
        if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree",
                     "fcntl.flock", "ctypes.dlsym", "os.scandir", "os.listdir"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    save_folder(path, content("new"), meta={"version": "new"})


def whole(path):
    version = open_folder(path)["version"]
    for i in range(2):
        assert (path / "deep" / f"{version}{i}").read_bytes() == version.encode() * 100
    return version


point, found, killed = 0, [], True
while killed:
    point += 1
    path = folder / f"engine{point}"
    if starts_with_old:
        save_folder(path, content("old"), meta={"version": "old"})
    process = os.fork()
    if process == 0:
        try:
            child(path, point)
        finally:
            os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(process, 0)[1])
    try:
        found.append(whole(path))
    except ArtifactError as error:
        assert not starts_with_old and not path.exists(), (point, error)
        found.append("none")
    save_folder(path, content("next"), meta={"version": "next"})
    assert whole(path) == "next"
    left = [p.name for p in folder.iterdir() if p.name.startswith(".")]
    assert not left, (point, left)
print(point, *sorted(set(found)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("old", "exchanges"), [(True, True), (True, False), (False, True)])
def test_a_killed_save_leaves_the_old_or_the_new_engine(
    tmp_path: Path, old: bool, exchanges: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, str(+exchanges), str(+old)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    points, *found = done.stdout.split()
    assert int(points) > 20
    assert found == (["new", "old"] if old else ["new", "none"])
