"""Search for hyper-parameters: any field of the engine's YAML, judged on validation events only.

`fusion.tuning` is something else: it finds the weights and parameters of one fusion, inside `fit`,
over scores that are there already. This package stands outside and fits a whole engine a trial.
"""

from fusion.search.outcome import Found
from fusion.search.running import search
from fusion.search.space import SearchSpace

__all__ = ["Found", "SearchSpace", "search"]
