"""Normalisations: the scores of different models on one scale, query by query."""
