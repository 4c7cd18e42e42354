"""The command line; `main` is its entry point, one small file a command."""

from landmarks.cli.app import main

__all__ = ["main"]
