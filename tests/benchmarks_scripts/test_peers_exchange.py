"""What a peer reads is the split, and what it writes is judged by our rules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from exchange import cut, hold_out_last, ndcg_at_10, read_split, write_run
from export import main as export_main
from export import restored
from judge import against, judged, top_of_run
from judge import main as judge_main
from tiny_data import tiny_frames

from fusion.data.splits import Split
from fusion.errors import DataError, FingerprintError
from fusion.evaluation.metrics import per_query
from fusion.evaluation.table import Table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last event of each of the 40 users, exported."""
    out = tmp_path_factory.mktemp("peers")
    tables = dict(zip(("interactions", "items"), tiny_frames(), strict=True))
    for name, table in tables.items():
        pq.write_table(table, out / f"{name}.parquet")
    words = ["--data-set", "beauty", "--data", str(out), "--split", "leave_last_out"]
    export_main([*words, "--out", str(out / "split")])
    return out / "split"


@pytest.fixture(scope="module")
def split(folder: Path) -> Split:
    return restored(json.loads((folder / "split.json").read_text("utf-8"))["origin"])[1]


def scores_of(split: Split) -> npt.NDArray[np.float64]:
    """(Q, I): popularity, with items of the history left out as NaN."""
    scores = np.repeat(split.train.popularity[None, :].astype(float), len(split), 0)
    scores[split.queries.excluded.rows, split.queries.excluded.values] = np.nan
    return scores


def write(folder: Path, out: Path, scores: npt.NDArray[np.float64], name: str = "pop") -> Path:
    rows, items = np.indices(scores.shape)
    run = cut(rows.ravel(), items.ravel(), scores.ravel(), 12)
    given = read_split(folder)
    return write_run(out, name, run, given, packages=("numpy",), settings={}, seconds={"fit": 1.0})


def test_a_peer_reads_the_split_and_not_the_answers(folder: Path, split: Split) -> None:
    given = read_split(folder)
    assert given.users.tolist() == split.train.interactions.users.tolist()
    assert given.items.tolist() == split.train.interactions.items.tolist()
    assert given.asked.offsets.tolist() == split.queries.history.offsets.tolist()
    assert given.asked.items.tolist() == split.queries.history.values.tolist()
    assert [e.tolist() for e in given.asked.excluded] == [
        e.tolist() for e in split.queries.excluded
    ]
    assert (given.n_users, given.n_items) == (40, 30)
    assert given.place[:12].tolist() == [*range(11), 0]  # 12 events a user, the last one held back
    answers = pq.read_table(folder / "targets.parquet")["targets"].to_pylist()
    assert answers == [t.tolist() for t in split.targets]
    met = given.matrix()
    assert all(met[user, target] == 0 for user, (target,) in enumerate(answers))


def test_a_configuration_can_name_the_split(folder: Path, tmp_path: Path) -> None:
    data = folder.parent
    (data / "own.yaml").write_text(
        "seed: 5\nretrievers: {popularity: {}}\nevaluation: {split: temporal, events_per_user: 2}\n"
        "data: {source: tables, interactions: interactions.parquet, items: items.parquet}\n",
        "utf-8",
    )
    export_main(["--config", str(data / "own.yaml"), "--out", str(tmp_path)])
    facts = read_split(tmp_path).facts
    assert facts["fingerprint"]["split"] == "temporal(events_per_user=2, fraction=0.2, seed=5)"
    again = restored(json.loads((tmp_path / "split.json").read_text("utf-8"))["origin"])[1]
    assert len(again) == facts["queries"] == len(read_split(tmp_path).asked)


def test_rows_are_cut_by_score_then_item() -> None:
    queries, items = np.array([1, 0, 0, 0, 0, 0]), np.array([9, 7, 3, 5, -1, 4])
    run = cut(queries, items, np.array([1.0, 2.0, 2.0, 3.0, 9.0, np.nan]), 2)
    assert run.to_pydict() == {
        "query": [0, 0, 1],
        "item": [5, 3, 9],
        "score": [3.0, 2.0, 1.0],
        "rank": [1, 2, 1],
    }
    # query 0 has its target at rank 2, query 1 not at all
    assert ndcg_at_10(run, np.array([3, 8])) == pytest.approx((1 / np.log2(3)) / 2)


def test_validation_holds_back_the_newest_training_event(folder: Path) -> None:
    given = read_split(folder)
    rest, asked, targets = hold_out_last(given, most=5, seed=1)
    assert len(rest.users) == len(given.users) - 5
    for query, user in enumerate(asked.users):
        own = given.items[given.users == user].tolist()
        history = asked.items[asked.offsets[query] : asked.offsets[query + 1]].tolist()
        assert [*history, targets[query]] == own
        assert rest.items[rest.users == user].tolist() == history


def test_a_run_is_judged_by_our_metrics(folder: Path, split: Split, tmp_path: Path) -> None:
    scores = scores_of(split)
    (result,) = judged(folder, [write(folder, tmp_path, scores)])
    # the naive loop: sort by (-score, item), cut at ten
    top = np.array(
        [
            sorted(np.flatnonzero(~np.isnan(row)), key=lambda i, row=row: (-row[i], i))[:10]
            for row in scores
        ],
        np.int32,
    )
    expected = per_query(top, split.targets, ["NDCG@10", "HR@10"])
    for metric, values in expected.items():
        assert result.per_query[metric].tolist() == values.tolist()
    assert result.extra["versions"]["numpy"] == np.__version__


def test_the_order_of_rows_does_not_matter_and_short_lists_are_padded(split: Split) -> None:
    free = [np.setdiff1d(np.arange(30), e)[:3] for e in split.queries.excluded]
    items = np.concatenate(free[:2])
    queries, scores = np.repeat([0, 1], 3), np.array([1.0, 1.0, 2.0, 0.0, 0.0, 0.0])
    top = top_of_run("run", split, queries, items, scores)
    assert top[0, :4].tolist() == [free[0][2], free[0][0], free[0][1], -1]
    assert (top[2:] == -1).all()
    shuffled = np.array([5, 2, 0, 4, 1, 3])
    again = top_of_run("run", split, queries[shuffled], items[shuffled], scores[shuffled])
    assert again.tolist() == top.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("excluded", "no excluded item"),
        ("twice", "each item once"),
        ("range", "items below 30"),
        ("nan", "finite scores"),
        ("empty", "recommendations"),
    ],
)
def test_a_run_that_breaks_a_rule_is_refused(split: Split, change: str, message: str) -> None:
    free = np.setdiff1d(np.arange(30), split.queries.excluded[0])[:2]
    queries, items, scores = np.array([0, 0]), free.astype(np.int64), np.array([2.0, 1.0])
    if change == "excluded":
        items[1] = split.queries.excluded[0][0]
    elif change == "twice":
        items[1] = items[0]
    elif change == "range":
        items[1] = 30
    elif change == "nan":
        scores[1] = np.nan
    else:
        queries, items, scores = queries[:0], items[:0], scores[:0]
    with pytest.raises(DataError, match=message):
        top_of_run("run", split, queries, items, scores)


def test_a_run_for_another_split_is_refused(folder: Path, split: Split, tmp_path: Path) -> None:
    path = write(folder, tmp_path, scores_of(split))
    about = json.loads(path.with_suffix(".json").read_text("utf-8"))
    path.with_suffix(".json").write_text(json.dumps({**about, "protocol": "0" * 64}), "utf-8")
    with pytest.raises(FingerprintError, match="a run for 000000000000"):
        judged(folder, [path])


def test_ours_stands_beside_the_peers(
    folder: Path, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = scores_of(split)
    perfect = scores.copy()
    perfect[np.arange(len(split)), split.targets.values] = 1000.0
    runs = [write(folder, tmp_path, scores), write(folder, tmp_path, perfect, "oracle")]
    peer, oracle = judged(folder, runs)
    table = Table([peer, oracle])
    ours = {"results": [oracle.to_json()], "table": {"primary": "NDCG@10"}}
    (tmp_path / "ours.json").write_text(json.dumps(ours), "utf-8")
    (gap,) = against(table, "oracle", ["pop"])
    assert gap["difference"]["mean"] == pytest.approx(1 - peer.per_query["NDCG@10"].mean())
    words = [str(folder), str(runs[0]), "--ours", str(tmp_path / "ours.json"), "--json"]
    judge_main([*words, "--against", "oracle", "--out", str(tmp_path / "out.json")])
    found = json.loads(capsys.readouterr().out)
    assert found["against"][0]["p_holm"] < 0.01
    assert "per_query" not in json.dumps(found)
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == found
    with pytest.raises(SystemExit, match="2"):
        judge_main([*words, "--against", "nobody"])
