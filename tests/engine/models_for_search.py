"""A ranker that counts how often it was fitted."""

from typing import ClassVar

import numpy as np

from fusion.candidates import Missing, Scores
from fusion.protocols import Ranker, RankerConfig


class Counting(Ranker):
    Config = RankerConfig
    fits: ClassVar[int] = 0

    def fit(self, data, context):
        Counting.fits += 1

    def score(self, queries, candidates):
        return Scores.of(np.zeros(len(candidates), np.float32), Missing.COLD)

    def save(self, folder):
        (folder / "nothing.json").write_text("{}")

    def load(self, folder, data):
        pass
