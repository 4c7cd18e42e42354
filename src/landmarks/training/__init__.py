"""Train, evaluate and export recognisers; the only part of the package that imports PyTorch."""
