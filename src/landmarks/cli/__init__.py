"""The command line; `main` is its entry point, one small file a command."""

from landmarks.cli.edge import main

__all__ = ["main"]
