"""The command line; `main` is its entry point, with one small file per command."""

from landmarks.cli.app import main

__all__ = ["main"]
