"""The settings of a run, and presets of them."""
