"""Reads PyTorch recognisers that others trained: TorchScript files, and networks of timm with local weights."""
