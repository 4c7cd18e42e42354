"""Metrics of a classifier and of its answers to unknown photos."""
