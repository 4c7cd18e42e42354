"""Paths in settings."""

from __future__ import annotations

from pathlib import Path


def take_paths(settings: object, *names: str) -> None:
    """Turn text into paths, in the named fields of a frozen dataclass; for its `__post_init__`."""
    for name in names:
        if isinstance(value := getattr(settings, name), str):
            object.__setattr__(settings, name, Path(value))
