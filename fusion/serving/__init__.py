"""Serving: models that may fail or be late, swaps with a safety net, shadows, deadlines."""
