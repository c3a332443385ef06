from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from synthetic import rules, window

from fusion.errors import DataError
from fusion.tournament.blocks import Folds
from fusion.tournament.board import Board, board_of, choice, nested_choice, slice_rows
from fusion.tournament.contest import Played
from fusion.tournament.entrants import Entrant


def played(
    name: str, ranks: Any, kind: Literal["model", "fusion"] = "fusion", **more: Any
) -> Played:
    return Played(Entrant(name, kind, {"mode": name}), np.array(ranks, np.int64), **more)


def board(*who: Played, users: npt.NDArray[np.int64] | None = None, **more: Any) -> Board:
    n = max(len(one.ranks) for one in who)
    users = np.arange(n) if users is None else users
    return board_of(who, users, k=10, permutations=999, **more)


def test_rows_by_hand() -> None:
    found = board(
        played("low", [3, 0, 0, 1], "model", fusing_ms=0.5, asks=("low",)),
        played("high", [1, 0, 3, 1], "model"),
        played("fused", [1, 3, 3, 1], fusing_ms=1.0, asks=("low", "high")),
        played("twin", [1, 3, 3, 1]),
        played("broken", [], error="DataError: no"),
        costs={"low": 2.0, "high": 3.0},
    )
    assert [row.name for row in found.rows] == ["fused", "twin", "high", "low", "broken"]
    assert found.best_single == "high"
    fused, twin, high, low, broken = found.rows
    assert fused.ndcg is not None
    assert fused.difference is not None
    assert fused.ndcg.mean == (1 + 0.5 + 0.5 + 1) / 4
    assert fused.difference.mean == pytest.approx(0.5 / 4)
    assert fused.hit_rate == 1
    assert fused.mrr == pytest.approx((1 + 1 / 3 + 1 / 3 + 1) / 4)
    assert (fused.total_ms, low.total_ms, high.total_ms) == (1 + 2 + 3, 0.5 + 2, None)
    assert (fused.same_as, twin.same_as) == ("", "fused")
    assert high.difference is None
    assert high.p is None
    assert broken.ndcg is None
    assert broken.error == "DataError: no"


def test_no_single_model() -> None:
    with pytest.raises(DataError, match="a: DataError: broken"):
        board(played("a", [], "model", error="DataError: broken"), played("f", [1, 2]))


def gain(n: int, share: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Ranks of a model, and of a fusion that finds more."""
    rng = np.random.default_rng(seed)
    base = np.where(rng.random(n) < 0.3, rng.integers(1, 11, n), 0)
    better = np.where((base == 0) & (rng.random(n) < share), 2, base)
    return base.tolist(), better.tolist()


def test_the_best_significant_fusion_is_chosen() -> None:
    base, some = gain(300, 0.1)
    _, more = gain(300, 0.2)
    found = board(played("m", base, "model"), played("some", some), played("more", more))
    name, reason = choice(found, rules(), 10)
    assert name == "more"
    assert "over m, the best single model" in reason
    assert "corrected for 2 fusions" in reason


def test_without_significance_the_best_model_is_chosen() -> None:
    base, _ = gain(300, 0)
    same = base[::-1]
    found = board(played("m", base, "model"), played("weak", [0] * 300, "model"), played("f", same))
    name, reason = choice(found, rules(), 10)
    assert name == "m"
    assert "no fusion is significantly better" in reason
    assert "f comes nearest" in reason


def test_a_fusion_that_beats_only_a_weak_model_is_not_chosen() -> None:
    base, better = gain(300, 0.2)
    found = board(
        played("weak", base, "model"), played("strong", better, "model"), played("f", better)
    )
    assert choice(found, rules(), 10)[0] == "strong"


def test_a_significant_loss_is_no_reason() -> None:
    base, better = gain(300, 0.3)
    found = board(played("m", better, "model"), played("worse", base))
    assert choice(found, rules(), 10)[0] == "m"
    worse = found.rows[1]
    assert worse.p is not None
    assert worse.p > 0.9


def test_models_alone() -> None:
    found = board(played("m", [1, 2, 0], "model"))
    assert choice(found, rules(), 10) == (
        "m",
        "there is no fusion to compare; m is the best single model (NDCG@10 0.5436)",
    )
    folds = Folds(np.arange(4), np.array([0, 1, 2, 4]), True)
    assert nested_choice(found, folds) is None


def test_the_nested_choice_is_made_before_it_is_judged() -> None:
    # three folds of two queries; each fusion is good where the other is not
    found = board(
        played("m", [0, 0, 0, 0, 0, 0], "model"),
        played("early", [1, 1, 0, 0, 0, 0]),
        played("late", [0, 0, 1, 1, 1, 3]),
    )
    folds = Folds(np.arange(8), np.array([0, 2, 4, 6, 8]), True)
    nested = nested_choice(found, folds)
    assert nested is not None
    # after the first fold `early` leads and gives 0, 0; after two they are level, and the first
    # stays: 0, 0. With hindsight `late` would have given 1, 1, 1, 0.5
    assert nested.mean == 0


def test_slices_have_models_the_best_and_the_chosen() -> None:
    one = window(60)
    rng = np.random.default_rng(0)
    who = [played("m", rng.integers(0, 12, 60), "model")]
    who += [played(f"f{i}", rng.integers(0, 12, 60)) for i in range(8)]
    found = board(*who, users=np.arange(60))
    last = found.rows[-1].name
    rows = slice_rows(found, one, rules(), last)
    names = {row.name for row in rows}
    assert "m" in names
    assert last in names
    assert len(names) <= 1 + 5 + 1
    by_name = {(row.slice, row.name): row for row in rows}
    head, tail = by_name["head items", "m"], by_name["tail items", "m"]
    assert head.queries + tail.queries == 60
    assert head.ndcg is not None
    assert tail.ndcg is not None
    whole = (head.queries * head.ndcg.mean + tail.queries * tail.ndcg.mean) / 60
    assert whole == pytest.approx(float(found.values["m"].mean()))
    assert head.difference is None
