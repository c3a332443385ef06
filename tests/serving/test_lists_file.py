"""The Parquet file: the table's rows, complete or not there, and a killed run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from models_for_tests import engine_of, failing, skip

import fusion.serving.lists_file as lists_file
from fusion import Dataset, Engine
from fusion.candidates import Scores
from fusion.errors import ArtifactError, DataError, ModelError


@pytest.fixture
def engine(tiny: Dataset) -> Engine:
    return engine_of(tiny, fallback="low")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "recs.parquet"


@pytest.fixture
def every_batch_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists_file, "PART_SECONDS", 0.0)


class Killed(BaseException):
    """What ends a process."""


def dying(engine: Engine, after: int) -> Any:
    """A hook for the ranker that lets ``after`` calls live."""
    high: Any = engine.models["high"]
    high.asked = 0

    def hook(scores: Scores) -> Scores:
        if high.asked > after:
            raise Killed
        return scores

    return hook


def kill(engine: Engine, out: Path, users: list[str], after: int, **settings: Any) -> None:
    high: Any = engine.models["high"]
    high.hook = dying(engine, after)
    with pytest.raises(Killed):
        engine.recommend_many(users, out=out, batch=2, ahead=0, **settings)
    high.hook = None
    high.asked = 0


def left_behind(out: Path) -> list[Path]:
    return [path for path in out.parent.iterdir() if path != out]


@pytest.mark.parametrize("users", [None, [], ["u3"], ["u1", "stranger", "u2", "u1"]])
def test_the_file_is_the_table(engine: Engine, out: Path, users: list[str] | None) -> None:
    table = engine.recommend_many(users, k=4)
    done = engine.recommend_many(users, k=4, out=str(out), batch=3)
    written = pq.read_table(out)
    assert written.equals(table)
    assert written.schema.metadata[b"recfusion"] == table.schema.metadata[b"recfusion"]
    asked = 40 if users is None else len(users)
    assert (done.path, done.users, done.rows, done.resumed) == (out, asked, 4 * asked, 0)
    assert done.seconds > 0
    assert left_behind(out) == []
    assert json.loads(json.dumps(done.to_json(), allow_nan=False))["rows"] == done.rows


def test_what_happened_is_in_the_summary_and_in_the_file(tiny: Dataset, out: Path) -> None:
    after = [{"name": "filter", "deny": ["i1"]}]
    engine = engine_of(tiny, serving=skip(), after=after)
    engine.models["high"].hook = failing  # type: ignore[attr-defined]
    table = engine.recommend_many(k=30, batch=9)
    done = engine.recommend_many(k=30, batch=9, out=out)
    about = json.loads(pq.read_schema(out).metadata[b"recfusion"])
    assert about == json.loads(table.schema.metadata[b"recfusion"])
    assert about["failed"]["high"]["users"] == done.failed["high"]["users"] == 40
    assert about["removed"] == dict(done.removed) != {}


def test_rows_are_grouped_and_never_all_held(
    engine: Engine, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists_file, "PART_ROWS", 20)
    held: list[int] = []
    real = pa.concat_tables

    def watched(tables: list[Any]) -> Any:
        held.append(sum(table.num_rows for table in tables))
        return real(tables)

    monkeypatch.setattr(pa, "concat_tables", watched)
    engine.recommend_many(k=4, batch=3, out=out)  # 12 rows a batch
    assert max(held) == 24  # the first number of whole batches that reaches 20
    file = pq.ParquetFile(out)
    assert [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] == [24] * 6 + [
        40 * 4 - 6 * 24
    ]


@pytest.mark.usefixtures("every_batch_is_a_part")
def test_small_parts_become_one_group(engine: Engine, out: Path) -> None:
    engine.recommend_many(k=4, batch=3, out=out)
    assert pq.ParquetFile(out).num_row_groups == 1


@pytest.mark.usefixtures("every_batch_is_a_part")
def test_a_killed_run_goes_on_where_it_was(engine: Engine, out: Path) -> None:
    users = [f"u{u}" for u in range(9)]
    table = engine.recommend_many(users, k=4)
    kill(engine, out, users, after=3, k=4)
    assert not out.exists()
    asked: list[str] = []

    def again() -> Iterator[str]:
        for user in users:
            asked.append(user)
            yield user

    done = engine.recommend_many(again(), k=4, out=out, batch=2, ahead=0)
    assert (done.resumed, done.users, done.rows) == (6, 9, 36)
    assert engine.models["high"].asked == 2  # type: ignore[attr-defined]  # 3 users by 2
    assert asked == users
    assert pq.read_table(out).equals(table)
    assert left_behind(out) == []


@pytest.mark.usefixtures("every_batch_is_a_part")
@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, 4),
        ({"k": 5}, 0),
        ({"exclude_seen": False}, 0),
        ({"users": ["u9", "u1", "u2", "u3", "u4", "u5"]}, 0),
        ({"users": ["u0", "u1", "u2", "u4", "u4", "u5"]}, 2),
        ({"users": ["u0", "u1", "u2"]}, 2),
        ({"users": ["u0", "u1"]}, 2),
        ({"users": []}, 0),
        ({"fusion": {"mode": "single", "model": "ease"}}, 0),
    ],
)
def test_only_the_same_run_uses_what_is_there(
    engine: Engine, out: Path, change: dict[str, Any], kept: int
) -> None:
    users = [f"u{u}" for u in range(6)]
    kill(engine, out, users, after=2, k=4)
    if "fusion" in change:
        engine.swap({"fusion": change.pop("fusion")}, check=False)
    settings: dict[str, Any] = {"k": 4, **change}
    now = settings.pop("users", users)
    done = engine.recommend_many(now, out=out, batch=2, **settings)
    assert done.resumed == kept
    assert pq.read_table(out).equals(engine.recommend_many(now, **settings))
    assert left_behind(out) == []


@pytest.mark.usefixtures("every_batch_is_a_part")
def test_other_data_is_another_run(tiny: Dataset, engine: Engine, out: Path) -> None:
    kill(engine, out, ["u0", "u1", "u2"], after=1)
    other = engine_of(tiny.where(tiny.interactions.users != 30), fallback="low")
    assert other.recommend_many(["u0", "u1", "u2"], out=out).resumed == 0


@pytest.mark.usefixtures("every_batch_is_a_part")
def test_a_damaged_part_is_made_again(engine: Engine, out: Path) -> None:
    users = [f"u{u}" for u in range(8)]
    kill(engine, out, users, after=3)
    (folder,) = left_behind(out)
    parts = sorted(folder.iterdir())
    parts[1].write_bytes(parts[1].read_bytes()[:-9])
    (folder / "junk.tmp").write_bytes(b"half")
    done = engine.recommend_many(users, out=out, batch=2)
    assert done.resumed == 2
    assert pq.read_table(out).equals(engine.recommend_many(users))


@pytest.mark.usefixtures("every_batch_is_a_part")
def test_parts_of_other_users_do_not_stay(engine: Engine, out: Path) -> None:
    kill(engine, out, [f"u{u}" for u in range(10)], after=4)
    (folder,) = left_behind(out)
    assert len(list(folder.iterdir())) == 4
    kill(engine, out, ["u0", "u1", "u8", "u9", "u3"], after=1)
    assert sorted(path.name for path in folder.iterdir()) == ["000000.parquet", "000001.parquet"]


@pytest.mark.usefixtures("every_batch_is_a_part")
def test_an_error_leaves_the_old_file(engine: Engine, out: Path) -> None:
    engine.recommend_many(["u1"], out=out)
    before = out.read_bytes()
    engine.models["high"].hook = failing  # type: ignore[attr-defined]
    with pytest.raises(ModelError):
        engine.recommend_many(["u1", "u2"], out=out)
    assert out.read_bytes() == before


def test_exploration_goes_on_as_if_never_killed(tiny: Dataset, out: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(lists_file, "PART_SECONDS", 0.0)
    after = [{"name": "epsilon", "epsilon": 0.9}]
    users = [f"u{u}" for u in range(8)]
    one = engine_of(tiny, after=after)
    one.recommend_many(users, k=5, out=out, batch=2)
    whole = pq.read_table(out)
    out.unlink()
    other = engine_of(tiny, after=after)
    kill(other, out, users, after=2, k=5)
    assert other.recommend_many(users, k=5, out=out, batch=2).resumed == 4
    assert pq.read_table(out).equals(whole)


@pytest.mark.parametrize("name", ["recs.csv", "recs", "folder.parquet"])
def test_another_ending_is_refused(engine: Engine, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(DataError, match=r"ends in \.parquet"):
        engine.recommend_many(["u1"], out=tmp_path / name)


def test_a_disk_that_refuses_is_told(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match="a file that can be written"):
        engine.recommend_many(["u1"], out=tmp_path / "file" / "recs.parquet")


def test_relative_paths_stay_where_they_were(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert engine.recommend_many(["u1"], out="recs.parquet").path == tmp_path / "recs.parquet"


def test_a_process_that_is_really_killed_leaves_no_half_file(
    tiny: Dataset, out: Path, tmp_path: Path
) -> None:
    engine = engine_of(tiny)
    engine.save(tmp_path / "engine")
    code = f"""
import os
import fusion.serving.lists_file as lists_file
from fusion import Engine

lists_file.PART_SECONDS = 0.0
engine = Engine.load({str(tmp_path / "engine")!r})
high = engine.models["high"]
high.hook = lambda scores: os._exit(9) if high.asked > 5 else scores
engine.recommend_many(out={str(out)!r}, batch=2)
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    assert not out.exists()
    summary = engine.recommend_many(out=out, batch=2)
    assert 2 <= summary.resumed <= 10  # what was handed out before the sixth batch, at most
    assert pq.read_table(out).equals(engine.recommend_many())
