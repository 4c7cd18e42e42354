"""Turns recognizers that others trained into model folders."""
