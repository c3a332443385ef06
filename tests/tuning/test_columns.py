from __future__ import annotations

import numpy as np
import pytest
from tuning_cases import MIN_MAX, ragged_window, tiny_window

from fusion.errors import RecfusionError
from fusion.methods.base import WorthMethod
from fusion.registry import known, resolve
from fusion.strategies.parallel import Parallel
from fusion.strategies.single import Single
from fusion.tuning.columns import Columns, columns_for
from fusion.tuning.gains import TargetRows, gains_of
from fusion.tuning.simplex import towards


def registered() -> list[str]:
    """The methods that are there; a name whose module cannot be imported is another test's."""
    found = []
    for name, point in known("methods").items():
        try:
            resolve("methods", name)
        except RecfusionError:
            continue
        if point.value.startswith("fusion."):
            found.append(name)
    return found


def columns(method: object, seed: int = 0, levels: int = 0) -> Columns | None:
    return columns_for(Parallel({"method": method}), ragged_window(seed, levels))


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("method", registered())
def test_ranks_are_those_of_the_fused_list(method: str, levels: int) -> None:
    if Parallel({"method": method}).learns:
        assert columns(method) is None
        return
    found = columns(method, levels=levels)
    if found is None:
        kind = resolve("methods", method)
        assert not issubclass(kind, WorthMethod) or kind.fused is not WorthMethod.fused
        return
    window, rng = ragged_window(levels=levels), np.random.default_rng(1)
    for weights in ((1 / 3, 1 / 3, 1 / 3), (0.0, 1.0, 0.0), *rng.dirichlet(np.ones(3), 3).tolist()):
        strategy = Parallel({"method": method, "weights": dict(zip("abc", weights, strict=True))})
        fused = strategy.fuse(window.pool)
        slow = TargetRows(fused.candidates, window.targets).ranks(fused.scores)
        np.testing.assert_array_equal(found.ranks(weights), slow)


def test_the_line_of_the_tiny_case_by_hand() -> None:
    found = columns_for(Parallel({"method": MIN_MAX["method"]}), tiny_window())
    assert found is not None
    gains = gains_of("HR@1")
    edges, values = found.line((0.5, 0.5), 0, gains).pieces(np.ones(3, bool))
    # query 0 is right above 1/2, query 1 below 2/3
    np.testing.assert_allclose(edges, [0, 1 / 2, 2 / 3, 1])
    np.testing.assert_allclose(values, [1 / 3, 2 / 3, 1 / 3])
    only = np.array([True, False, False])
    edges, values = found.line((0.5, 0.5), 0, gains).pieces(only)
    np.testing.assert_allclose(edges, [0, 1 / 2, 1])
    np.testing.assert_allclose(values, [0, 1])


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("metric", ["NDCG@5", "HR@1", "MRR@20"])
@pytest.mark.parametrize("method", ["weighted_sum", "rrf", "borda"])
def test_a_line_is_the_metric_everywhere(method: str, metric: str, levels: int) -> None:
    found = columns(method, seed=2, levels=levels)
    assert found is not None
    assert found.is_sum
    gains, rng = gains_of(metric), np.random.default_rng(0)
    for m in range(3):
        weights = tuple(rng.dirichlet(np.ones(3)).tolist())
        edges, values = found.line(weights, m, gains).pieces(np.ones(40, bool))
        assert (np.diff(edges) > 0).all()
        wide = np.diff(edges) > 1e-6  # within rounding of an edge a rank may be either
        assert wide.any()
        for at in np.flatnonzero(wide):
            share = (edges[at] + edges[at + 1]) / 2
            ranks = found.ranks(towards(weights, m, share))
            mean = gains[np.minimum(ranks, len(gains) - 1)].mean()
            assert mean == pytest.approx(values[at], abs=1e-12)


def test_only_sums_have_lines() -> None:
    most = columns("comb_max")
    assert most is not None
    assert not most.is_sum


def test_what_is_no_plain_merge_has_no_columns() -> None:
    assert columns_for(Single({"model": "a"}), ragged_window()) is None
    assert columns("condorcet") is None
    assert columns({"name": "rrf", "missing": {"cold": "prior"}}) is None
