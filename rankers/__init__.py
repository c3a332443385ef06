"""Rankers: large models that score what the retrievers found."""
