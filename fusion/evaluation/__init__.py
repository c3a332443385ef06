"""Metrics, protocols, significance: how a recommender is measured."""
