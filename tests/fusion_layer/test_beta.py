from __future__ import annotations

from dataclasses import replace

import numpy as np
from pools import candidates_of, random_candidates

from fusion.normalizations.beta import Beta
from fusion.normalizations.logistic_fit import platt_targets
from fusion.normalizations.platt import Platt


def test_arithmetic() -> None:
    method = Beta({"scale": "raw"})
    method.restore(
        {"models": {"a": {"a": [2.0], "b": [0.5], "c": [-1.0], "mean": [3.0], "sd": [2.0]}}}
    )
    found = method.normalize(candidates_of([{1: (3,), 2: (5,), 3: (1,)}])).ravel()
    for score, probability in zip([3.0, 5.0, 1.0], found.tolist(), strict=True):
        u = 1 / (1 + np.exp(-(score - 3) / 2))
        # as the paper writes it: odds of e^c u^a / (1 - u)^b
        odds = np.exp(-1) * u**2 / (1 - u) ** 0.5
        np.testing.assert_allclose(probability, odds / (1 + odds), rtol=1e-13)


def test_with_equal_slopes_it_is_platt() -> None:
    lists = candidates_of([{1: (3,), 2: (5,), 3: (-40,)}])
    scale = {"mean": [1.0], "sd": [3.0]}
    beta, platt = Beta({"scale": "raw"}), Platt({"scale": "raw"})
    beta.restore({"models": {"a": {"a": [0.7], "b": [0.7], "c": [-1.0], **scale}}})
    platt.restore({"models": {"a": {"slope": [0.7], "intercept": [-1.0], **scale}}})
    np.testing.assert_allclose(beta.normalize(lists), platt.normalize(lists), rtol=1e-12)


def test_it_fits_no_worse_than_platt_and_better_where_the_curve_bends() -> None:
    rng = np.random.default_rng(0)
    lists = random_candidates(rng, n_queries=200, models="a", missing=0)
    scores = lists.scores[:, 0]
    # flat among low scores, steep among high ones
    labels = (rng.random(len(lists)) < np.where(scores < 0, 0.1, 0.1 + 0.4 * scores)).astype("f4")
    loss = {}
    for kind in (Beta, Platt):
        method = kind({"scale": "raw"})
        method.fit(lists, labels)
        p = method.normalize(replace(lists))[:, 0]
        targets = platt_targets(labels.astype(np.float64))
        loss[kind] = -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    assert loss[Beta] < loss[Platt] - 1e-3
