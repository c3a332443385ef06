from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import pytest
from tiny_data import tiny_frames

from fusion._version import __version__
from fusion.cli import main

CONFIG = """\
retrievers:
  ease: {reg: 20}
  item_knn:
  popularity:
fusion: {mode: parallel, method: rrf}
fallback: popularity
stacking: {events: 2}
evaluation: {k: 5}
data:
  source: tables
  interactions: interactions.csv
  items: items.csv
"""
OTHER = CONFIG.replace("method: rrf", "method: comb_mnz")
TYPO = CONFIG.replace("reg: 20", "regg: 20")


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs the command line in this process."""
    monkeypatch.delenv("RECFUSION_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        assert isinstance(caught.value.code, int | None)
        return Done(caught.value.code or 0, out, err)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three configurations beside the CSV files that they name."""
    folder = tmp_path_factory.mktemp("cli")
    interactions, items = tiny_frames()
    # everybody at the same time, so that a cut in time leaves each a past and a future
    steps = [int(t) % 1000 for t in interactions["timestamp"].to_pylist()]
    interactions = interactions.set_column(2, "timestamp", pa.array(steps))
    pyarrow.csv.write_csv(interactions, folder / "interactions.csv")
    pyarrow.csv.write_csv(items.drop_columns(["categories"]), folder / "items.csv")
    for name, text in (("engine", CONFIG), ("other", OTHER), ("typo", TYPO)):
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Path:
    with pytest.raises(SystemExit) as caught:
        main(["fit", str(folder / "engine.yaml"), "--out", str(folder / "engine"), "--quiet"])
    assert caught.value.code in (0, None)
    return folder / "engine"


def test_version(run: Callable[..., Done]) -> None:
    assert run("--version") == Done(0, f"recfusion {__version__}\n", "")


@pytest.mark.parametrize(
    "command",
    [
        "",
        "fit",
        "recommend",
        "profile",
        "distill",
        "evaluate",
        "compare",
        "explain-config",
        "schema",
        "doctor",
    ],
)
def test_help(run: Callable[..., Done], command: str) -> None:
    done = run(*filter(None, [command]), "--help")
    assert done.code == 0
    assert "Usage: " in done.out
    assert done.err == ""


def test_the_command_is_installed() -> None:
    script = Path(sys.executable).with_name("recfusion")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"recfusion {__version__}\n"


def test_schema(run: Callable[..., Done]) -> None:
    assert {"retrievers", "fusion", "data"} <= run("schema").json["properties"].keys()


def test_doctor(run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECFUSION_CACHE", str(tmp_path))
    monkeypatch.setattr("fusion.doctor._FAISS_PROBE", 'print("{\\"gpus\\": 0}")')
    monkeypatch.setattr("fusion.doctor._TORCH_PROBE", "raise ImportError('broken')")
    done = run("doctor", "--json")
    assert done.code == 1
    found = {finding["what"]: finding for finding in done.json}
    assert found["recfusion"]["found"] == __version__
    assert "broken" in found["device"]["found"]
    shown = run("doctor")
    assert (shown.code, shown.err) == (1, "")
    assert "broken" in shown.out


# --- errors -----------------------------------------------------------------------------------


def test_an_error_is_one_red_line_and_status_2(run: Callable[..., Done], folder: Path) -> None:
    done = run("fit", folder / "typo.yaml", "--out", folder / "never")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {folder / 'typo.yaml'}:2:10: retrievers.ease.regg: ")
    assert done.err.count("\n") == 1
    assert not (folder / "never").exists()


def test_debug_shows_the_traceback(
    run: Callable[..., Done], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusion.errors import ConfigError

    monkeypatch.setenv("RECFUSION_DEBUG", "1")
    with pytest.raises(ConfigError):
        main(["evaluate", str(folder / "typo.yaml")])


def test_colour_only_for_a_terminal(folder: Path) -> None:
    command = [sys.executable, "-m", "fusion.cli", "evaluate", str(folder / "typo.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["fit", "no.yaml", "--out", "x"], "No such file"),
        (["evaluate", "{folder}/engine.yaml", "--split", "random"], "leave_last_out or temporal"),
        (["recommend", "{folder}"], "--user, or --history and --item, got neither"),
        (["recommend", "{folder}", "--user", "u1", "--item", "i1"], "got neither or both"),
        (["recommend", "{folder}/nothing", "--user", "u1"], "the folder of a saved engine"),
        (["recommend", "{folder}", "--user", "u1"], "manifest.json"),
        (["recommend", "{folder}", "--all"], "--all and --out together, got one of them alone"),
        (["recommend", "{folder}", "--out", "x.parquet"], "--all and --out together"),
        (["recommend", "{folder}", "--all", "--out", "x.parquet", "--user", "u1"], "--user"),
        (
            ["recommend", "{folder}", "--all", "--out", "x.parquet", "--explain"],
            "neither --explain",
        ),
        (["recommend", "{folder}", "--all", "--out", "x.csv"], "ends in .parquet"),
        (["profile", "{folder}/nothing"], "the folder of a saved engine"),
        (["profile", "{folder}", "--plot", "x.pdf"], "a file ending in .png or .svg"),
        (["compare", "{folder}/no.json"], "No such file"),
        (["compare", "{folder}/items.csv"], "no JSON"),
        (["fit", "{folder}/engine.yaml", "--out", "{folder}"], "an empty folder or a saved engine"),
    ],
)
def test_what_a_user_can_mend(
    run: Callable[..., Done], folder: Path, arguments: list[str], why: str
) -> None:
    done = run(*(a.format(folder=folder) for a in arguments))
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert why in done.err
    assert done.out == ""


def test_a_config_without_data_says_so(run: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("retrievers: {popularity: }")
    done = run("fit", tmp_path / "x.yaml", "--out", tmp_path / "engine")
    assert done.code == 2
    assert "expected a section `data:`, got none" in done.err


def test_a_wrong_option_is_a_usage_error(run: Callable[..., Done]) -> None:
    done = run("fit", "--no-such-option")
    assert done.code == 2
    assert "--no-such-option" in done.err


# --- the way through --------------------------------------------------------------------------


def test_fit_tells_what_it_did(run: Callable[..., Done], folder: Path) -> None:
    out = folder / "again"
    done = run("fit", folder / "engine.yaml", "--out", out, "--json")
    assert done.code == 0, done.err
    assert done.json["models"] == ["ease", "item_knn", "popularity"]
    assert (done.json["users"], done.json["items"]) == (40, 30)
    assert done.json["interactions"] == 40 * 12
    assert (out / "manifest.json").is_file()
    assert run("fit", folder / "engine.yaml", "--out", out, "--quiet").code == 0  # replaced


def test_recommend_to_a_user(run: Callable[..., Done], fitted: Path) -> None:
    done = run("recommend", fitted, "--user", "u1", "-k", 3, "--json")
    assert done.code == 0, done.err
    assert [one["rank"] for one in done.json] == [1, 2, 3]
    for one in done.json:
        assert sum(one["contributions"].values()) == pytest.approx(one["score"])


def test_recommend_after_a_history(run: Callable[..., Done], fitted: Path) -> None:
    joined = run("recommend", fitted, "--history", "i1,i2,i3", "--json")
    mixed = run("recommend", fitted, "--history", "i1,i2", "--item", "i3", "--json")
    single = run("recommend", fitted, "--item", "i1", "--item", "i2", "--item", "i3", "--json")
    assert joined.json == mixed.json == single.json
    assert not {"i1", "i2", "i3"} & {one["item_id"] for one in joined.json}
    with_seen = run("recommend", fitted, "--item", "i1", "--include-seen", "-k", 30, "--json")
    assert "i1" in {one["item_id"] for one in with_seen.json}


def test_an_unknown_user_gets_the_fallback(run: Callable[..., Done], fitted: Path) -> None:
    done = run("recommend", fitted, "--user", "nobody", "-k", 2, "--json")
    assert [list(one["contributions"]) for one in done.json] == [["popularity"]] * 2


def test_an_unknown_item_is_an_error(run: Callable[..., Done], fitted: Path) -> None:
    done = run("recommend", fitted, "--item", "i999")
    assert done.code == 2
    assert "'i999'" in done.err


def test_recommendations_as_a_table(run: Callable[..., Done], fitted: Path) -> None:
    plain = run("recommend", fitted, "--user", "u1", "-k", 3)
    assert "The " in plain.out
    assert "item_knn" not in plain.out
    explained = run("recommend", fitted, "--user", "u1", "-k", 3, "--explain")
    for name in ("ease", "item_knn", "popularity"):
        assert name in explained.out


def test_explain_shows_where_the_time_went(run: Callable[..., Done], fitted: Path) -> None:
    shown = run("recommend", fitted, "--user", "u1", "--explain").out
    for stage in ("prepare", "retrieve item_knn", "score ease", "fuse", "rules", "present"):
        assert stage in shown
    told = run("recommend", fitted, "--user", "u1", "--explain", "--json").json
    assert told["profile"]["stages"][0]["stage"] == "prepare"


def test_recommend_to_everybody(run: Callable[..., Done], fitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "recs.parquet"
    done = run("recommend", fitted, "--all", "--out", out, "-k", 3, "--batch", 7, "--json")
    assert done.code == 0, done.err
    assert (done.json["users"], done.json["rows"], done.json["path"]) == (40, 120, str(out))
    table = pyarrow.parquet.read_table(out)
    assert table.column_names == ["user_id", "item_id", "score", "rank"]
    one = run("recommend", fitted, "--user", "u7", "-k", 3, "--json").json
    of_u7 = table.filter(pa.compute.equal(table["user_id"], "u7"))
    assert of_u7["item_id"].to_pylist() == [item["item_id"] for item in one]
    again = run("recommend", fitted, "--all", "--out", out, "-q")
    assert (again.code, again.err) == (0, "")
    assert "40" in again.out


def test_profile(run: Callable[..., Done], fitted: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "deep" / "profile.json", tmp_path / "profile.svg"
    asked = ("--users", 6, "--repeat", 2, "-k", 3)
    done = run("profile", fitted, *asked, "--json", out, "--plot", plot, "-q")
    assert (done.code, done.err) == (0, "")
    for text in ("retrieve ease", "fuse", "p99 ms", "12 requests of 6 users, k=3"):
        assert text in done.out
    told = json.loads(out.read_text("utf-8"))
    assert (told["requests"], told["users"], told["k"]) == (12, 6, 3)
    assert "<svg" in plot.read_text("utf-8")
    printed = run("profile", fitted, "--users", 2, "--deadline-ms", 60_000, "--json", "-", "-q")
    assert printed.json["deadline_ms"] == 60_000
    assert printed.json["incomplete"] == 0
    nowhere = run("profile", fitted, "--users", 1, "--json", out / "x", "-q")
    assert nowhere.code == 2
    assert "a file that can be written" in nowhere.err


def test_a_damaged_engine_is_an_error(run: Callable[..., Done], fitted: Path) -> None:
    file = next((fitted / "models").rglob("*.safetensors"))
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:-1])
        done = run("recommend", fitted, "--user", "u1")
    finally:
        file.write_bytes(whole)
    assert done.code == 2
    assert file.name in done.err


def test_evaluate_and_compare(run: Callable[..., Done], folder: Path) -> None:
    for name in ("engine", "other"):
        done = run("evaluate", folder / f"{name}.yaml", "--json", "--quiet")
        assert (done.code, done.err) == (0, "")
        (folder / f"{name}.json").write_text(done.out)
    rows = [row["name"] for row in done.json["table"]["rows"]]
    assert rows == ["ease", "item_knn", "popularity", "parallel"]

    done = run("compare", folder / "engine.json", folder / "other.json", "--json")
    assert done.code == 0, done.err
    both = [row["name"] for row in done.json["rows"]]
    assert sorted(both) == sorted(f"{s}: {row}" for s in ("engine", "other") for row in rows)
    of_yaml = run("compare", folder / "engine.yaml", folder / "other.yaml", "--json", "--quiet")
    assert [r["primary"] for r in of_yaml.json["rows"]] == [r["primary"] for r in done.json["rows"]]
    shown = run("compare", folder / "engine.json", folder / "other.json")
    assert "engine: parallel" in shown.out

    temporal = run("evaluate", folder / "engine.yaml", "--split", "temporal", "--json", "--quiet")
    (folder / "temporal.json").write_text(temporal.out)
    mixed = run("compare", folder / "engine.json", folder / "temporal.json")
    assert mixed.code == 2
    assert "the split" in mixed.err


def test_evaluate_keeps_its_results(run: Callable[..., Done], folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run("evaluate", folder / "engine.yaml", "--out", tmp_path / "runs", "--quiet")
    assert done.code == 0, done.err
    assert "parallel" in done.out
    assert run("compare", tmp_path / "runs" / "leave_last_out.json").code == 0


@pytest.mark.parametrize(("form", "start"), [("mermaid", "flowchart"), ("svg", "<svg")])
def test_explain_config_draws_the_tree(
    run: Callable[..., Done], tmp_path: Path, form: str, start: str
) -> None:
    config = tmp_path / "engine.yaml"
    config.write_text(
        "retrievers: {ease: {}, popularity: {}}\n"
        "fusion: {models: [both], fusions: {both: {models: [ease, popularity], keep: 9}}}\n",
        "utf-8",
    )
    done = run("explain-config", config, "--format", form)
    assert done.code == 0
    assert start in done.out
    assert "popularity" in done.out
    written = run("explain-config", config, "--format", form, "--out", tmp_path / "tree")
    assert written.out == ""
    assert (tmp_path / "tree").read_text("utf-8").strip() == done.out.strip()
    wrong = run("explain-config", config, "--format", "png")
    assert wrong.code == 2
    assert "mermaid" in wrong.err
