"""Data sets: frames and publishers' files in, `Dataset` out; splits."""
