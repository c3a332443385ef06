"""Tuning of a fusion's weights and parameters on out-of-window scores; see `mode: tuned`."""
