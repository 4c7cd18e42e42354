"""Recognise landmarks in photos, and train your own recogniser from a folder of pictures."""

__version__ = "0.1.0"
