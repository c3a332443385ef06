"""Accuracy metrics: the arithmetic written out, and parity with ir_measures (trec_eval)."""

from __future__ import annotations

import doctest
import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import DataError
from fusion.evaluation import metrics
from fusion.evaluation.metrics import per_query
from fusion.ragged import Ragged

TOP = np.array(
    [
        [4, 8, 1, 0, 9],  # targets 8 and 0: ranks 2 and 4
        [5, 6, 7, -1, -1],  # target 5: rank 1, a short list
        [1, 2, 3, 4, 5],  # target 9: missed
        [-1, -1, -1, -1, -1],  # nothing recommended
    ],
    dtype=np.int32,
)
TARGETS = Ragged.of([[0, 8, 77], [5], [9], [2]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("HR@1", [0, 1, 0, 0]),
        ("HR@5", [1, 1, 0, 0]),
        ("Recall@3", [1 / 3, 1, 0, 0]),
        ("Recall@5", [2 / 3, 1, 0, 0]),
        ("Precision@5", [2 / 5, 1 / 5, 0, 0]),
        (
            "NDCG@5",
            [
                (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / math.log2(4)),
                1,
                0,
                0,
            ],
        ),
        ("NDCG@2", [(1 / math.log2(3)) / (1 + 1 / math.log2(3)), 1, 0, 0]),
        ("MRR@1", [0, 1, 0, 0]),
        ("MRR", [1 / 2, 1, 0, 0]),
        ("MAP@5", [(1 / 2 + 2 / 4) / 3, 1, 0, 0]),
        ("MAP@3", [(1 / 2) / 3, 1, 0, 0]),
    ],
)
def test_by_hand(name, expected) -> None:
    values = per_query(TOP, TARGETS, [name])[name]
    assert values.dtype == np.float64
    assert values == pytest.approx(expected)


def test_doctests() -> None:
    found = doctest.testmod(metrics)
    assert found.attempted >= 7
    assert found.failed == 0


def with_ir_measures(top: np.ndarray, targets: Ragged, name: str) -> list[float]:
    """The same metric by the reference, which leaves out queries without any recommendation."""
    metric, _, cutoff = name.partition("@")
    k = int(cutoff)
    # trec_eval's reciprocal rank has no cutoff, so the run itself is cut
    run = [
        ir_measures.ScoredDoc(str(q), str(item), -float(rank))
        for q, row in enumerate(top)
        for rank, item in enumerate(row[:k])
        if item >= 0
    ]
    qrels = [
        ir_measures.Qrel(str(q), str(item), 1) for q in range(len(targets)) for item in targets[q]
    ]
    measure = {
        "HR": lambda: ir_measures.Success @ k,
        "Recall": lambda: ir_measures.R @ k,
        "Precision": lambda: ir_measures.P @ k,
        "NDCG": lambda: ir_measures.nDCG @ k,
        "MRR": lambda: ir_measures.RR,
        "MAP": lambda: ir_measures.AP @ k,
    }[metric]()
    values = {
        found.query_id: found.value
        for found in ir_measures.pytrec_eval.iter_calc([measure], qrels, run)
    }
    return [values.get(str(q), 0.0) for q in range(len(targets))]


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("metric", list(metrics.METRICS))
def test_parity_with_ir_measures(metric, k) -> None:
    rng = np.random.default_rng(k)
    q, width, n_items = 200, 10, 40
    top = np.stack([rng.permutation(n_items)[:width] for _ in range(q)]).astype(np.int32)
    short = rng.integers(0, width + 1, size=q)  # from empty lists to whole ones
    top[np.arange(width)[None, :] >= short[:, None]] = -1
    targets = Ragged.of(
        [rng.choice(n_items + 20, size=rng.integers(1, 16), replace=False) for _ in range(q)]
    )
    name = f"{metric}@{k}"
    ours = per_query(top, targets, [name])[name]
    theirs = with_ir_measures(top, targets, name)
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert 0 < np.mean(theirs) < 1


ROWS = st.lists(st.permutations(range(6)), min_size=1, max_size=5)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(0, 5), st.integers(1, 6))
def test_one_target_ties_the_metrics_together(rows, target, k) -> None:
    """With a single target: Recall = HR, MAP = MRR, and NDCG is between MRR and HR."""
    top = np.array(rows, dtype=np.int32)
    targets = Ragged.of([[target]] * len(rows))
    found = per_query(top, targets, [f"{name}@{k}" for name in metrics.METRICS])
    assert found[f"Recall@{k}"] == pytest.approx(found[f"HR@{k}"])
    assert found[f"MAP@{k}"] == pytest.approx(found[f"MRR@{k}"])
    assert found[f"Precision@{k}"] * k == pytest.approx(found[f"HR@{k}"])
    assert (found[f"NDCG@{k}"] >= found[f"MRR@{k}"] - 1e-12).all()
    assert (found[f"NDCG@{k}"] <= found[f"HR@{k}"] + 1e-12).all()


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(0, 5), st.integers(0, 20))
def test_relabelling_items_changes_nothing(rows, target, shift) -> None:
    top = np.array(rows, dtype=np.int32)
    names = [f"{name}@3" for name in metrics.METRICS]
    plain = per_query(top, Ragged.of([[target]] * len(rows)), names)
    moved = per_query(top + shift, Ragged.of([[target + shift]] * len(rows)), names)
    for name in names:
        assert plain[name].tolist() == moved[name].tolist()


@pytest.mark.parametrize(
    ("top", "targets", "name", "message"),
    [
        ([[1, 2]], [[1]], "NDGC@2", "a metric like NDCG@10"),
        ([[1, 2]], [[1]], "NDCG@0", "a metric like NDCG@10"),
        ([[1, 2]], [[1]], "NDCG@3", "lists of 3 or more, got lists of 2"),
        ([[1, 1]], [[1]], "HR@2", "recommended items unique"),
        ([[1, 2]], [[1, 1]], "HR@2", "targets unique"),
        ([[1, 2]], [[]], "HR@2", "1 queries without a target"),
        ([[1, -1]], [[-1]], "HR@2", "a negative item_index"),
        ([[1, 2]], [[1], [2]], "HR@2", r"top of shape \(2, K\), got \(1, 2\)"),
        ([1, 2], [[1], [2]], "HR@2", r"top of shape \(2, K\), got \(2,\)"),
    ],
)
def test_what_would_falsify_a_metric_is_refused(top, targets, name, message) -> None:
    with pytest.raises(DataError, match=message):
        per_query(np.array(top, np.int32), Ragged.of(targets), [name])


def test_no_query_gives_no_value() -> None:
    found = per_query(np.empty((0, 10), np.int32), Ragged.of([]), ["NDCG@10", "MRR@10"])
    assert found["NDCG@10"].shape == found["MRR@10"].shape == (0,)
