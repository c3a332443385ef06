"""Publishers' files: downloaded once, checked, kept in the cache, resumed where they stopped."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion.data.reading_progress import byte_progress
from fusion.errors import DataError, MissingDataError, explain

__all__ = ["Remote", "fetch", "found", "missing", "unpack"]

log = logging.getLogger(__name__)

#: seconds to wait for a connection, and for the next bytes
_TIMEOUT = (10, 60)


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at its publisher's.

    Attributes:
        url: where it is.
        known_hash: ``"md5:..."`` or ``"sha256:..."`` as the publisher states it, "" if unknown.
        hash_url: the publisher's own checksum file, read at the download; "" if there is none.
            With neither, the SHA-256 of the first download is kept beside the file, and later
            uses are checked against that.
    """

    url: str
    known_hash: str = ""
    hash_url: str = ""

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def found(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of ``names`` that is a file in ``folder``."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def missing(
    who: str, folder: Path, names: Iterable[str], url: str, do: str = ""
) -> MissingDataError:
    """The error that says which file was looked for, where, its address, and how to get it."""
    if folder.is_dir():
        held = sorted(entry.name for entry in folder.iterdir())
        got = f"a folder with {', '.join(held[:8])}{', ...' if len(held) > 8 else ''}"
        got = got if held else "an empty folder"
    else:
        got = "no such folder"
    do = do or f"download {url} and unpack it there, or leave `path` out to have it downloaded"
    return MissingDataError(explain(who, f"{' or '.join(names)} in {folder}", got, do))


def fetch(remote: Remote, folder: Path, *, offline: bool = False, progress: bool = True) -> Path:
    """The file in ``folder``, downloaded if it is not there or not what it was.

    A download that stops leaves ``NAME.part``; the next call asks the server for the rest only
    (HTTP ``Range``, with ``If-Range`` so that a file changed meanwhile starts anew).

    Raises:
        MissingDataError: offline, or the server cannot be reached or breaks off.
        DataError: what came does not have the publisher's checksum (nothing is kept).
    """
    import pooch

    path, memo = folder / remote.name, folder / f"{remote.name}.sha256"
    if offline and not path.is_file():
        raise missing(
            remote.name, folder, [remote.name], remote.url,
            f"download {remote.url} into that folder, give a folder as `path`, or allow downloads",
        )  # fmt: skip
    known = remote.known_hash
    if not known and memo.is_file():
        known = f"sha256:{memo.read_text('utf-8').strip()}"
    if offline:
        if known and not pooch.hashes.hash_matches(str(path), known):
            raise DataError(
                explain(
                    str(path), f"checksum {known}", "another", "delete it and download it again"
                )
            )
        return path
    known = known or _published_hash(remote)
    level = pooch.get_logger().level
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        pooch.retrieve(
            remote.url,
            known_hash=known or None,
            fname=remote.name,
            path=folder,
            downloader=_Resuming(folder / f"{remote.name}.part", progress),
        )
    except DataError:  # a ValueError too, but pooch's own is of the checksum
        raise
    except ValueError as error:
        raise DataError(
            explain(
                remote.name, f"checksum {known}", f"another from {remote.url}", "try again later"
            )
        ) from error
    finally:
        pooch.get_logger().setLevel(level)
    if not remote.known_hash and not memo.is_file():
        memo.write_text(str(pooch.file_hash(str(path))), "utf-8")
    return path


def _published_hash(remote: Remote) -> str:
    """``"md5:..."`` from the publisher's checksum file; "" if there is none."""
    if not remote.hash_url:
        return ""
    import requests

    try:
        answer = requests.get(remote.hash_url, timeout=_TIMEOUT)
    except requests.RequestException as error:
        raise _unreachable(remote.url, error) from error
    digest = re.search(r"\b[0-9a-fA-F]{32}\b", answer.text) if answer.ok else None
    if digest is None:
        log.warning("%s: the publisher's checksum is not at %s", remote.name, remote.hash_url)
        return ""
    return f"md5:{digest[0].lower()}"


def _unreachable(url: str, error: Exception, done: int = 0) -> MissingDataError:
    more = f" ({done:,} bytes are kept; the next call goes on there)" if done else ""
    return MissingDataError(
        explain(
            url.rsplit("/", 1)[-1], f"to download {url}", f"{error}{more}",
            "try again, or download it elsewhere and give its folder as `path`",
        )
    )  # fmt: skip


class _Resuming:
    """A downloader for pooch that keeps what came and asks for the rest."""

    def __init__(self, part: Path, progress: bool) -> None:
        self._part, self._progress = part, progress
        self._tag = part.with_name(f"{part.name}.tag")

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        import requests
        import urllib3

        while True:
            before = self._size()
            try:
                self._rest(url)
                break
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                if self._size() <= before:  # else the line only broke: go on from there
                    raise _unreachable(url, error, self._size()) from error
        os.replace(self._part, output_file)
        self._tag.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _rest(self, url: str) -> None:
        import requests

        have = self._size() if self._tag.is_file() else 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self._tag.read_text("utf-8")}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            resumed = answer.status_code == requests.codes.partial_content
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                self._tag.unlink()
                answer.close()
                self._rest(url)
                return
            answer.raise_for_status()
            if not resumed:
                have = 0
                self._tag.unlink(missing_ok=True)
                tag = answer.headers.get("ETag", "")
                tag = answer.headers.get("Last-Modified", "") if tag[:2] in ("", "W/") else tag
                if tag:
                    self._tag.write_text(tag, "utf-8")
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with (
                self._part.open("ab" if resumed else "wb") as out,
                byte_progress(f"download {url.rsplit('/', 1)[-1]}", total, show=self._progress,
                              small=2**20) as update,
            ):  # fmt: skip
                for piece in answer.raw.stream(2**18, decode_content=False):
                    out.write(piece)
                    update(out.tell())


def unpack(archive: Path, names: Iterable[str], folder: Path) -> Path:
    """Take the files ``names`` out of a zip archive into ``folder``, all of them or none.

    Args:
        archive: the zip file; its own folders are left out.
        names: file names wanted.
        folder: is made; if it is there it is replaced.

    Raises:
        DataError: a damaged archive, or one without such a file.
    """
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        with zipfile.ZipFile(archive) as packed:
            members = {name.rsplit("/", 1)[-1]: name for name in packed.namelist()}
            for name in names:
                if name not in members:
                    raise DataError(explain(str(archive), f"a member {name}", str(sorted(members))))
                with packed.open(members[name]) as source, (aside / name).open("wb") as out:
                    shutil.copyfileobj(source, out, 2**20)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(aside, folder)
    except zipfile.BadZipFile as error:
        raise DataError(
            explain(str(archive), "a whole zip file", str(error), "delete it and download it again")
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder
