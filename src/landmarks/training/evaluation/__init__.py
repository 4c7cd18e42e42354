"""Evaluates any model on any folder of photos: known landmarks, unknown landmarks, and photos without one."""
