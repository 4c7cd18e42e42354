"""From a run to a model folder that needs no PyTorch."""
