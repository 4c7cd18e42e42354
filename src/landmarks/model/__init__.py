"""A model folder, what runs it, its probabilities, out-of-distribution scores and calibration."""
