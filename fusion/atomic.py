"""One step between the old folder and the new one, whenever the process is killed.

The new folder is written aside, as a sibling, and synced. Where the system can exchange two names
in one step (Linux), it does. Elsewhere the old folder is renamed aside and the new one renamed in:
a process killed between the two leaves no folder, and `recover` then puts the old one back.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["recover", "replace_folder", "write_text"]

#: renameat2(2) of Linux: paths relative to the current folder; exchange the two names
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def replace_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make ``path`` (absolute) the folder that ``fill`` fills; what stood there is removed.

    Raises:
        OSError: the disk refuses. ``path`` is then what it was, as it is if ``fill`` raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(path)
    aside, lock = _new_aside(path)
    try:
        fill(aside)
        for folder, _, files in os.walk(aside, topdown=False):
            for name in files:
                _sync(Path(folder) / name)
            _sync(Path(folder))
        _put_in_place(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # the old one, or what was not finished
        if lock is not None:
            os.close(lock)


def write_text(path: Path, text: str) -> None:
    """Make ``path`` a file that holds ``text`` in UTF-8: the old one or the new, never half of it.

    Folders on the way are made.

    Raises:
        OSError: the disk refuses; ``path`` is then what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        aside.write_text(text, "utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def recover(path: Path) -> None:
    """Put back what stood at ``path`` (absolute) when a process was killed between two renames."""
    if os.path.lexists(path):
        return
    if any(not _abandoned(other) for other in _siblings(path, "saving")):
        return  # another process is at it
    for old in _siblings(path, "old"):
        with suppress(OSError):  # another process was faster
            old.rename(path)


def _put_in_place(aside: Path, path: Path) -> None:
    if not path.exists():
        aside.rename(path)
    elif not _exchange(aside, path):
        old = _sibling(path, "old")
        path.rename(old)
        try:
            aside.rename(path)
        except OSError:
            old.rename(path)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; ``False`` where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _sync(path: Path) -> None:
    """Push a file's bytes, or a folder's names, to the disk."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sibling(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{secrets.token_hex(4)}")


def _siblings(path: Path, kind: str) -> list[Path]:
    start = f".{path.name}.{kind}-"
    try:
        return sorted(p for p in path.parent.iterdir() if p.name.startswith(start))
    except OSError:  # a parent that is not there, or may not be listed
        return []


def _new_aside(path: Path) -> tuple[Path, int | None]:
    """A new sibling and the handle of its lock, which the system releases when the process ends."""
    while True:
        aside = _sibling(path, "saving")
        aside.mkdir()
        handle, held = _lock(aside)
        if aside.exists() and (held or handle is None):
            return aside, handle  # else another process took it for abandoned before it was locked
        if handle is not None:
            os.close(handle)


def _lock(folder: Path) -> tuple[int | None, bool]:
    """A handle on ``folder`` and whether it holds the lock; no handle where there are no locks.

    A file system may refuse locks too. Then nothing there is ever taken for abandoned.
    """
    try:
        import fcntl
    except ImportError:
        return None, False
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None, False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return handle, False
    except OSError:
        os.close(handle)
        return None, False
    return handle, True


def _abandoned(folder: Path) -> bool:
    """Whether the process that made ``folder`` is gone, as far as a lock can tell."""
    handle, held = _lock(folder)
    if handle is not None:
        os.close(handle)
    return held


def _clear_abandoned(path: Path) -> None:
    recover(path)
    for left in _siblings(path, "saving"):
        if _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    for left in _siblings(path, "old"):
        shutil.rmtree(left, ignore_errors=True)
