"""Exports for other programs; each is compared with the trained network before it is written."""
