"""Fusion methods of the literature, one formula a file."""
