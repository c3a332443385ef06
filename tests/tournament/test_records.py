from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion.tournament.contest import Played
from fusion.tournament.entrants import Entrant
from fusion.tournament.records import Records

ENTRANT = Entrant("rrf", "fusion", {"mode": "parallel", "method": "rrf"})
PLAYED = Played(ENTRANT, np.array([3, 0, 1]), True, 0.5, 2.0, ("a", "b"), 1)


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    records = Records(tmp_path / "new", "window")
    assert records.find(ENTRANT) is None
    records.keep(PLAYED)
    found = records.find(ENTRANT)
    assert found is not None
    assert found.ranks.tolist() == [3, 0, 1]
    assert (found.learns, found.fusing_ms, found.seconds) == (True, 0.5, 2.0)
    assert (found.asks, found.fell_back, found.error) == (("a", "b"), 1, "")


def test_another_window_or_fusion_is_another_record(tmp_path: Path) -> None:
    Records(tmp_path, "window").keep(PLAYED)
    assert Records(tmp_path, "other").find(ENTRANT) is None
    other = Entrant("rrf", "fusion", {"mode": "parallel", "method": {"name": "rrf", "k": 20}})
    assert Records(tmp_path, "window").find(other) is None
    # the name is only a name
    renamed = Entrant("mine", "fusion", ENTRANT.fusion)
    found = Records(tmp_path, "window").find(renamed)
    assert found is not None
    assert found.entrant.name == "mine"


def test_errors_are_not_kept(tmp_path: Path) -> None:
    records = Records(tmp_path, "window")
    records.keep(Played(ENTRANT, np.empty(0, np.int64), error="DataError: no"))
    assert records.find(ENTRANT) is None


def test_a_damaged_record_is_played_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = Records(tmp_path, "window")
    records.keep(PLAYED)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text("utf-8")[:20])
    assert records.find(ENTRANT) is None
    assert "played again" in caplog.text


def test_nowhere() -> None:
    records = Records(None, "")
    records.keep(PLAYED)
    assert records.find(ENTRANT) is None
