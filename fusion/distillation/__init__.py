"""A small ranker that stands for a whole engine, taught by the engine's own scores."""

from fusion.distillation.distilling import distill, student_name

__all__ = ["distill", "student_name"]
