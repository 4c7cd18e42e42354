"""Recognizers that others trained, turned into model folders."""
