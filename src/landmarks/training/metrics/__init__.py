"""Metrics of a classifier and of its out-of-distribution scores."""
