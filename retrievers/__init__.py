"""Retrievers: models that look at the whole catalogue."""
