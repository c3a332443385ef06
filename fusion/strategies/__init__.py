"""Strategies: which models look at which candidates, and how their word is merged."""
