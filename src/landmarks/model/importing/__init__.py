"""Turns recognisers that others trained into model folders."""
