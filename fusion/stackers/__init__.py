"""Stackers: models that learn from out-of-window scores how far to believe whom."""
