"""A tournament of fusions: all on the same columns, judged by nested folds, one recommended."""

from fusion.tournament.outcome import TournamentResult
from fusion.tournament.play import run_tournament

__all__ = ["TournamentResult", "run_tournament"]
