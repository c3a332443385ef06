from __future__ import annotations

import numpy as np
import pytest
from pools import candidates_of, pool_of

from fusion.candidates import Missing
from fusion.errors import ConfigError
from fusion.strategies.single import Single

COLD = Missing.COLD
POOL = pool_of(candidates_of([{1: (2, 10), 2: (6, COLD)}, {3: (1, COLD)}, {4: (1, -1)}]))


def test_the_models_own_scores_without_those_it_did_not_give() -> None:
    fused = Single({"model": "b"}).fuse(POOL)
    assert fused.candidates.offsets.tolist() == [0, 1, 1, 2]
    assert fused.candidates.items.tolist() == [1, 4]
    assert fused.scores.tolist() == [10, -1]
    assert fused.parts == ("b",)
    assert fused.contributions.tolist() == [[10], [-1]]
    assert fused.scores.dtype == np.float64


def test_unknown_model() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ease'"):
        Single({"model": "eese"}).uses(("ease", "bert"))
