"""Saved folders that are whole or not there, and that are checked before anything parses them.

A folder is written aside, synced to the disk, and put in its place by one atomic step. Beside the
files stand ``manifest.json`` (format, versions, each file's size and SHA-256) and
``manifest.sha256`` (the manifest's own, as ``sha256sum`` writes it). `open_folder` compares all of
them first, because the parsers behind cannot be trusted with damaged files: a truncated LightGBM
model ends the process, and safetensors loads a flipped bit without a word.

A digest finds damage, not malice: who can write the folder can write the manifest too. That is why
no file of an engine is ever a pickle, whatever its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fusion._version import FORMAT_VERSION, __version__
from fusion.atomic import recover, replace_folder
from fusion.errors import ArtifactError, CorruptArtifactError, VersionError, explain

__all__ = ["DIGEST", "MANIFEST", "check_target", "open_folder", "save_folder"]

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"


def save_folder(path: Path, write: Callable[[Path], None], *, meta: Mapping[str, Any]) -> None:
    """Make the folder ``path`` hold exactly what ``write`` writes, all of it or nothing.

    Whenever the process is killed, ``path`` is what it was before, or complete. What a killed
    process left aside is removed by the next save.

    Args:
        path: a folder that is not there yet, is empty, or was saved by this function.
        write: gets an empty folder; may make files and folders in it, no links.
        meta: JSON-able, given back by `open_folder`.

    Raises:
        ArtifactError: ``path`` is something else, which is left alone; or the disk refuses.
    """
    path = Path(os.path.abspath(path))
    check_target(path)

    def fill(folder: Path) -> None:
        write(folder)
        _write_manifest(folder, meta)

    try:
        replace_folder(path, fill)
    except ArtifactError:
        raise
    except OSError as error:
        raise ArtifactError(
            explain(f"saving {path}", "a folder that can be written", str(error))
        ) from error


def check_target(path: Path) -> None:
    """Make sure that `save_folder` may write ``path``; ask before hours of fitting.

    Raises:
        ArtifactError: there is something that this project has not saved.
    """
    path = Path(os.path.abspath(path))
    recover(path)
    if not os.path.lexists(path):
        return
    refuse = "choose another folder, or remove it yourself"
    if path.is_symlink() or not path.is_dir():
        kind = "a link" if path.is_symlink() else "a file"
        raise ArtifactError(explain(f"saving {path}", "a folder or nothing there", kind, refuse))
    try:
        present = set(_files(path))
    except CorruptArtifactError as error:
        raise ArtifactError(
            explain(f"saving {path}", "plain files only", str(error), refuse)
        ) from error
    if not present:
        return
    if not {MANIFEST, DIGEST} <= present:
        got = f"a folder with {min(present)!r} and no manifest"
        raise ArtifactError(
            explain(f"saving {path}", "an empty folder or a saved engine", got, refuse)
        )
    try:  # damaged files, the manifest among them, are no reason to keep an engine
        own = {*json.loads((path / MANIFEST).read_bytes())["files"], MANIFEST, DIGEST}
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    foreign = sorted(present - own)
    if foreign:
        raise ArtifactError(
            explain(f"saving {path}", "a saved engine only", f"also {foreign[0]!r}", refuse)
        )


def open_folder(path: Path) -> dict[str, Any]:
    """Make sure that every file of a saved folder is exactly as it was written.

    Returns:
        The ``meta`` it was saved with.

    Raises:
        ArtifactError: there is no such folder.
        CorruptArtifactError: a file is missing, truncated, altered, a link, or not of the folder.
        VersionError: another format version wrote it.
    """
    path = Path(path)
    recover(Path(os.path.abspath(path)))
    if not path.is_dir():
        got = "a file" if path.exists() else "nothing"
        raise ArtifactError(explain(str(path), "the folder of a saved engine", got))
    try:
        manifest = _read_manifest(path)
        if manifest["format"] != FORMAT_VERSION:
            raise VersionError(
                explain(
                    str(path),
                    f"format version {FORMAT_VERSION} (of recfusion {__version__})",
                    f"format version {manifest['format']} (of recfusion {manifest['recfusion']})",
                    f"install recfusion {manifest['recfusion']}, or fit and save the engine again",
                )
            )
        _compare(path, manifest["files"])
    except ArtifactError:
        raise
    except OSError as error:
        raise CorruptArtifactError(explain(str(path), "readable files", str(error))) from error
    meta: dict[str, Any] = manifest["meta"]
    return meta


def _compare(path: Path, expected: Mapping[str, Mapping[str, Any]]) -> None:
    """Names first: a name that leads out of the folder equals none that was found inside it."""
    found = set(_files(path)) - {MANIFEST, DIGEST}
    for name in sorted(expected.keys() - found):
        raise _corrupt(path / name, "a file", "nothing")
    for name in sorted(found - expected.keys()):
        raise _corrupt(path / name, "only files that the manifest lists", "another")
    for name, entry in sorted(expected.items()):
        size = (path / name).stat().st_size
        if size != entry["size"]:
            raise _corrupt(path / name, f"{entry['size']} bytes", str(size))
    for name, entry in sorted(expected.items()):
        digest = _sha256(path / name)
        if digest != entry["sha256"]:
            raise _corrupt(path / name, f"SHA-256 {entry['sha256'][:12]}...", f"{digest[:12]}...")


def _corrupt(path: Path, expected: str, got: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        explain(str(path), expected, got, "copy the engine again, or fit and save it again")
    )


def _write_manifest(folder: Path, meta: Mapping[str, Any]) -> None:
    names = sorted(_files(folder))
    manifest = {
        "format": FORMAT_VERSION,
        "recfusion": __version__,
        "meta": dict(meta),
        "files": {
            name: {"size": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
            for name in names
        },
    }
    text = json.dumps(manifest, indent=1).encode("ascii")  # meta keeps its order
    (folder / MANIFEST).write_bytes(text)
    (folder / DIGEST).write_bytes(_digest_line(text))


def _digest_line(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode("ascii")


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, parsed only if its own digest stands."""
    for name in (MANIFEST, DIGEST):
        if not _is_file(folder / name):
            raise _corrupt(folder / name, "a file", "nothing, or no plain file")
    text = (folder / MANIFEST).read_bytes()
    if (folder / DIGEST).read_bytes() != _digest_line(text):
        raise _corrupt(folder / MANIFEST, f"the digest in {DIGEST}", "another")
    try:
        manifest = json.loads(text)
        if not isinstance(manifest["format"], int) or not isinstance(manifest["meta"], dict):
            raise TypeError("format or meta")
        manifest["recfusion"] = str(manifest["recfusion"])
        for entry in manifest["files"].values():
            int(entry["size"]), str(entry["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _corrupt(folder / MANIFEST, "a manifest", f"something else ({error!r})") from error
    return dict(manifest)


def _files(folder: Path) -> Iterator[str]:
    """Every file's path below ``folder``, with slashes.

    Raises:
        CorruptArtifactError: something that is neither a plain file nor a folder.
    """
    for where, folders, files in os.walk(folder):
        for name in folders:
            if (Path(where) / name).is_symlink():
                raise _corrupt(Path(where) / name, "a folder", "a link")
        for name in files:
            if not _is_file(Path(where) / name):
                raise _corrupt(Path(where) / name, "a plain file", "a link or a device")
            yield (Path(where) / name).relative_to(folder).as_posix()


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
