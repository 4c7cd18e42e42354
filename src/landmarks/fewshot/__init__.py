"""Landmarks that a model is taught from a few photos, without training."""
