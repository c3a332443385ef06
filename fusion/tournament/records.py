"""Entrants' results on disk, one file each, so that an interrupted tournament goes on."""

from __future__ import annotations

import json
import logging
from hashlib import sha256
from pathlib import Path

import numpy as np

from fusion._version import __version__
from fusion.atomic import write_text
from fusion.tournament.contest import Played
from fusion.tournament.entrants import Entrant

__all__ = ["Records"]

log = logging.getLogger(__name__)


class Records:
    """Keeps what entrants reached.

    A file's name is a hash of the entrant's fusion, the windows with their folds, and this
    version; a changed one of them is played again. Errors are not kept.

    Args:
        folder: where; ``None`` = nowhere.
        fingerprint: `fusion.tournament.contest.Contest.fingerprint`.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self._folder, self._fingerprint = folder, fingerprint

    def _path(self, folder: Path, entrant: Entrant) -> Path:
        what = [self._fingerprint, dict(entrant.fusion), __version__]
        key = sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        return folder / f"{key[:24]}.json"

    def find(self, entrant: Entrant) -> Played | None:
        """What an earlier run left, or ``None``."""
        if self._folder is None:
            return None
        path = self._path(self._folder, entrant)
        try:
            value = json.loads(path.read_text("utf-8"))
            return Played(
                entrant,
                np.array(value["ranks"], np.int64),
                bool(value["learns"]),
                value["fusing_ms"],
                float(value["seconds"]),
                tuple(value["asks"]),
                int(value["fell_back"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("played again, since %s cannot be read: %s", path, error)
            return None

    def keep(self, played: Played) -> None:
        """Write ``played``, all of it or nothing."""
        if self._folder is None or played.error:
            return
        value = {
            "name": played.entrant.name,
            "fusion": dict(played.entrant.fusion),
            "ranks": played.ranks.tolist(),
            "learns": played.learns,
            "fusing_ms": played.fusing_ms,
            "seconds": played.seconds,
            "asks": list(played.asks),
            "fell_back": played.fell_back,
        }
        write_text(self._path(self._folder, played.entrant), json.dumps(value))
