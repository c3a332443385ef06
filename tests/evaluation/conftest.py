"""Results of a small data set, for the tests of fingerprints, results, tables and plots."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fusion import Dataset
from fusion.data.splits import Split, leave_last_out
from fusion.evaluation.fingerprint import Fingerprint
from fusion.evaluation.result import Kind, Result


@pytest.fixture(scope="session")
def split(tiny: Dataset) -> Split:
    return leave_last_out(tiny, events=3)


@pytest.fixture(scope="session")
def make_result(tiny: Dataset, split: Split) -> Callable[..., Result]:
    """A row whose lists have the target at place ``place`` for the share ``hit`` of the queries."""

    def make(
        name: str, hit: float, kind: Kind = "model", place: int = 2, p50: float | None = 1.0
    ) -> Result:
        rng = np.random.default_rng([*name.encode()])
        top = np.empty((len(split), 10), np.int32)
        for q in range(len(split)):
            target = split.targets[q][0]
            others = rng.permutation(np.setdiff1d(np.arange(tiny.n_items), [target]))
            top[q] = others[:10]
            if rng.random() < hit:
                top[q, place] = target
        latency = None if p50 is None else {"p50": p50}
        fingerprint = Fingerprint.of(tiny, split, config=name)
        return Result.measure(name, kind, fingerprint, split, top, latency_ms=latency)

    return make
